"""The app, ``make app``: a page in the browser that takes two photographs and shows the decision and what explains it.

Tornado serves it: Jupyter brings it along, and it refuses a message by its length and a page of another origin by its
headers. Every visit is one WebSocket. Photographs, maps and downloads travel over it and have no address, so nobody
else can ask for them, and they are forgotten when it closes. Frameworks with controls of their own, such as NiceGUI or
Panel, bring dozens of packages or megabytes of scripts for what the browser's own controls do here.
"""

import argparse
import asyncio
import base64
import hashlib
import io
import json
import logging
import math
import platform
import secrets
import webbrowser
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from inspect import signature
from ipaddress import ip_address
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from xfvlib import __version__, alignment, methods
from xfvlib.extras import extra
from xfvlib.frequency import frequency_influence
from xfvlib.interaction import interaction
from xfvlib.models import BUNDLED, FaceModel, load_model
from xfvlib.models.facemodel import decision_threshold
from xfvlib.pairs import Pair, load_pairs, orl_photo_path, person
from xfvlib.pairs.crops import kept_landmarks
from xfvlib.perturb import check_known
from xfvlib.sweep.folder import model_hash

with extra("app"):
    from tornado import httpserver, netutil, template, web, websocket

LARGEST_UPLOAD = 10_000_000  # bytes
_MOST_VISITS, _MOST_WAITING, _MOST_KEPT = 12, 2, 16  # at a time; messages of a visit; results of a visit
_LOCAL = {"127.0.0.1", "localhost", "[::1]"}  # names of the machine that a page is opened on
_ROLES = ("probe", "reference")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_visit: ContextVar["_Visit"] = ContextVar("visit")  # whose computation a network is asked for


class _Cancelled(Exception):
    pass


@dataclass
class _Photo:
    """A visitor's photograph: its file, and the middle of the face that was chosen, in pixels; None for the largest."""

    name: str
    data: bytes
    of_orl: bool = False
    at: Any = None

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.data).hexdigest()


def patience(method: str) -> str:
    """How long a method takes on two cores, in a word; none where that is not known.

    Example:
        >>> patience("gradient"), patience("minplus")
        ('at once', 'minutes')
    """
    steps = {"at once": 50, "seconds": 600, "half a minute": 5000, "minutes": math.inf}
    passes = methods.method_called(method).passes
    return next((word for word, most in steps.items() if 0 < passes < most), "")


def _uploaded(name: str, data: bytes) -> _Photo:
    """A photograph that may be decoded: its size and its first bytes are looked at, its number of pixels when it is
    opened."""
    name = "".join(one for one in str(name) if one.isprintable())[-60:] or "photograph"
    if not data:
        raise ValueError(f"{name} is empty")
    if len(data) > LARGEST_UPLOAD:
        raise ValueError(f"{name} has {len(data) / 1e6:.1f} MB; a photograph of at most 10 MB is needed")
    if not data.startswith(_SIGNATURES):
        raise ValueError(f"{name} is neither JPEG nor PNG, whatever its name: save it as one of them")
    return _Photo(name, data)


def _orl(name: str) -> _Photo:
    check_known("photograph", name, kept_landmarks("orl", "arcface"))
    return _Photo(name, orl_photo_path(name).read_bytes(), of_orl=True)


def _faces(photo: _Photo, kind: str) -> tuple:
    """Width and height of a photograph, and its faces from left to right, as from ``alignment.find_faces``."""
    picture = alignment.read_photo(photo.data, photo.name)
    found = sorted(alignment.find_faces(picture, kind), key=lambda face: face[0, 0])
    if not found:
        alignment.find_landmarks(picture, kind)  # whose error says what is needed
    return picture.size, found


def _chosen(photo: _Photo, faces: list) -> int:
    """Number of the face that was chosen, whichever detector found it."""
    if photo.at is None:
        return int(np.argmax([np.prod(face[1] - face[0]) for face in faces]))
    return int(np.argmin([np.linalg.norm(face[:2].mean(axis=0) - photo.at) for face in faces]))


def _load(name: str) -> tuple:
    """A recogniser that counts for whom it computes, ORL's pairs cropped for it, and its hash."""
    from xfvlib import live, plots  # noqa: F401, here as below: the page opens before these are there

    model = load_model(name)
    model.register_forward_hook(_counted)
    return model, load_pairs("orl", model=model), model_hash(model)


def _counted(model: FaceModel, given: tuple, output: torch.Tensor) -> None:
    """After every forward and before every backward pass: a computation that was cancelled ends here."""
    step = _visit.get().step
    step(len(output))
    if output.requires_grad:
        output.register_hook(lambda gradient: step(len(gradient)))


def _url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png(pixels: Any) -> str:
    """Data URL of a PIL image, or of an array ``(H, W, 3)``, RGB in [0, 1]."""
    picture = Image.fromarray((255 * pixels).round().astype(np.uint8)) if isinstance(pixels, np.ndarray) else pixels
    picture.save(content := io.BytesIO(), "png")
    return _url(content.getvalue())


def _pictures(e: methods.Explanation) -> dict:
    """Both crops and both maps over them, on one scale."""
    from xfvlib import plots

    shown = []
    for role, image, saliency, over in zip(_ROLES, (e.pair.a, e.pair.b), (e.map_a, e.map_b), plots.blended(e)):
        side = "for" if saliency.sum() > 0 else "against"
        drawn = [_png(x) for x in (image.permute(1, 2, 0).numpy(), over)]
        told = f"{e.method} map over the {role}; on the whole it speaks {side} a match."
        shown.append([*drawn, f"{e.method} on the {role}", told])
    return {"maps": shown}


def _interaction(model: FaceModel, pair: Pair) -> dict:
    from xfvlib import live

    return {"html": live.show_interaction_live(interaction(model, pair)).data}


def _frequency(model: FaceModel, pair: Pair) -> dict:
    from xfvlib import plots

    figure, alt = plots.draw_frequency_influence(frequency_influence(model, pair))
    return {"figure": _url(plots.to_png(figure)), "alt": alt}


_TABS = {"interaction": (_interaction, 340), "frequency": (_frequency, 116)}  # and passes, as a method has them
_PAGES = template.Loader(str(Path(__file__).parent))


def _pair_png(e: methods.Explanation) -> bytes:
    from xfvlib import plots

    return plots.to_png(plots.draw_pair(e))


def _report(e: methods.Explanation, model: FaceModel, sha256: str, photos: list, tabs: dict) -> bytes:
    """A page that holds all it shows, for reading without the app."""
    versions = {"Python": platform.python_version(), "xfvlib": __version__, "torch": torch.__version__}
    settings = {
        "Decision": repr(e).partition(": ")[2],
        "Recogniser": f"{model.name}, SHA-256 of its layers and weights {sha256}",
        "Threshold": f"{e.threshold:.4f}; the recogniser's own is {model.threshold:.4f}, {model.threshold_source}",
        "Method": f"{e.method}, with its default options",
        **{role.title(): f"{one.name}, SHA-256 of its file {one.sha256}" for role, one in zip(_ROLES, photos)},
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Made": f"{datetime.now():%Y-%m-%d %H:%M}",
    }
    return _PAGES.load("report.html").generate(e=e, settings=settings, figure=_url(_pair_png(e)), tabs=tabs)


class _OwnName:
    """Refuses requests under another host name; else a foreign page could reach the app by DNS rebinding."""

    def prepare(self: Any) -> None:
        if self.request.host_name not in self.settings["hosts"]:
            raise web.HTTPError(403, reason="open the address that the app has printed")


class _Page(_OwnName, web.RequestHandler):
    """The page. It may load nothing, and be shown in no other page."""

    def get(self) -> None:
        nonce, host = secrets.token_urlsafe(16), self.request.host
        own = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self' ws://{host}"
        others = "default-src 'none'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        self.set_header("Content-Security-Policy", f"{others}; {own}")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        people = {who: [*names] for who, names in groupby(kept_landmarks("orl", "arcface"), person)}
        known = {"roles": _ROLES, "people": people, "recognisers": list(BUNDLED), "largest": LARGEST_UPLOAD}
        known |= {"methods": {x: patience(x) for x in methods.METHODS}, "local": self.request.host_name in _LOCAL}
        self.render("app.html", nonce=nonce, **known)


class _Visit(_OwnName, websocket.WebSocketHandler):
    """One visit: its photographs, what was computed from them, and its computations, one after the other.

    Messages of the page are JSON, a line in bytes before the file where one comes along; each is answered by one with
    ``done``. ``{"do": "cancel", "number": n}`` ends the computations that messages up to n asked for.
    """

    def open(self) -> None:
        self.todo: asyncio.Queue = asyncio.Queue(_MOST_WAITING)
        self.photos: dict[str, _Photo] = {}
        self.kept: dict[tuple, Any] = {}
        self.number, self.stopped, self.done, self.total = 0, -1.0, 0, 0
        if len(self.settings["visits"]) >= _MOST_VISITS:
            self.close(1013, "too many visits at a time: try again later")
            return
        self.settings["visits"].add(self)
        self.worker = asyncio.create_task(self._work())

    def on_message(self, message: str | bytes) -> None:
        try:
            head, _, data = (message.encode() if isinstance(message, str) else message).partition(b"\n")
            asked = json.loads(head[:5000])
            if asked["do"] == "cancel":
                self.stopped = int(asked["number"])
            else:
                self.todo.put_nowait((int(asked["number"]), asked, data))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, asyncio.QueueFull):
            self.close(1008, "that is not a message this page sends")

    def on_close(self) -> None:
        self.stopped = math.inf  # the computation that runs ends at its next step, and the worker with it
        if self in self.settings["visits"] and self.todo.empty():
            self.todo.put_nowait((0, {}, b""))

    def step(self, images: int) -> None:
        """Count images that went through the network for this visit; ends a computation that was cancelled."""
        if self.number <= self.stopped:
            raise _Cancelled
        self.done += images

    def _say(self, **what: Any) -> None:
        with suppress(websocket.WebSocketClosedError):
            self.write_message(json.dumps({"number": self.number} | what))

    async def _send(self, message: str | bytes) -> None:
        """Wait until it is sent, so that replies to a visitor who does not read do not pile up in memory."""
        with suppress(websocket.WebSocketClosedError):
            await self.write_message(message, binary=isinstance(message, bytes))

    async def _work(self) -> None:
        _visit.set(self)
        try:
            while self.stopped < math.inf:
                self.number, asked, data = await self.todo.get()
                if self.stopped < math.inf:
                    await self._answer(asked, data)
        finally:  # what this visit held goes with it
            self.close()
            self.settings["visits"].discard(self)
            self.photos.clear()
            self.kept.clear()
            self.todo = asyncio.Queue(1)

    async def _answer(self, asked: dict, data: bytes) -> None:
        reply: dict[str, Any] = {}
        try:
            tab, download = asked["tab"], asked["do"] in ("png", "report")
            known = not download and _TABS.get(tab)
            self.done, self.total = 0, known[1] if known else methods.method_called(asked["method"]).passes
            await (self._download(asked) if download else self._change(asked, data, reply))
        except _Cancelled:
            reply["said"] = "Cancelled."
        except (ValueError, TypeError, OSError) as error:
            reply["error"] = str(error)
        except Exception as error:
            logging.exception("a message could not be answered")
            reply["error"] = f"{type(error).__name__}: {error}"
        await self._send(json.dumps({"number": self.number} | reply | {"done": True}))

    async def _compute(self, function: Any, *given: Any) -> Any:
        """What the function gives, computed in a thread when no other visit computes; waiting and progress are told."""
        if (lock := self.settings["lock"]).locked():
            self._say(said="Waiting: another computation comes first.")
        turn = asyncio.create_task(lock.acquire())  # visits come in the order in which they have asked
        try:
            while not (await asyncio.wait([turn], timeout=0.1))[0]:
                self.step(0)  # who cancels or leaves does not wait
            job = asyncio.create_task(asyncio.to_thread(function, *given))
            while not (await asyncio.wait([job], timeout=0.3))[0]:
                self._say(progress=self.done, of=self.total)
            return job.result()
        finally:
            if not turn.cancel():
                lock.release()

    async def _keep(self, key: tuple, function: Any, *given: Any) -> Any:
        """The same, kept for this visit; what was used last stays longest."""
        self.kept[key] = self.kept.pop(key) if key in self.kept else await self._compute(function, *given)
        while len(self.kept) > _MOST_KEPT:
            del self.kept[next(iter(self.kept))]
        return self.kept[key]

    async def _recogniser(self, name: str) -> tuple:
        if name not in (models := self.settings["models"]):
            check_known("recogniser", name, BUNDLED)
            models[name] = await self._compute(lambda: models.get(name) or _load(name))
        return models[name]

    async def _change(self, asked: dict, data: bytes, reply: dict) -> None:
        """Take over what was changed, then show it as far as there are two photographs: the reply is filled step by
        step, and what could be done is told where the rest fails or is cancelled."""
        model, pairs, _ = await self._recogniser(asked["recogniser"])
        if kind := asked.get("pair"):
            rows = np.flatnonzero(pairs.labels == (kind != "different"))
            row = pairs.table.iloc[rows[0] if kind == "first" else secrets.choice(rows)]
            self.photos |= {role: _orl(name) for role, name in zip(_ROLES, (row.name_a, row.name_b))}
        sides = reply["sides"] = dict[str, Any]()
        try:
            if (role := asked.get("role")) in _ROLES:
                sides[role] = None
                photo = self.photos.pop(role, None)
                if asked.get("face"):
                    if not photo:
                        raise ValueError("there is no photograph to choose a face of: bring one first")
                    photo.at = np.array([float(x) for x in asked["face"]])
                else:
                    photo = _orl(asked["orl"]) if asked.get("orl") else _uploaded(asked["name"], data)
                    await self._placed(photo, model)  # where it has no face, the side stays empty
                self.photos[role] = photo
        finally:
            for role, photo in () if asked.get("drag") else self.photos.items():
                size, boxes, chosen = await self._placed(photo, model)
                sides[role] = {"name": photo.name, "size": size, "faces": boxes, "chosen": chosen}
                if photo.of_orl:
                    sides[role]["picture"] = _png(Image.open(io.BytesIO(photo.data)))
        if len(self.photos) == 2:
            await self._show(asked, model, pairs, reply)

    async def _placed(self, photo: _Photo, model: FaceModel) -> tuple:
        """Size of a photograph, the boxes of its faces, and the number of the chosen one; ORL's have kept landmarks."""
        if photo.of_orl:
            return (92, 112), [], 0
        size, faces = await self._keep(("faces", photo.sha256, model.alignment), _faces, photo, model.alignment)
        return size, [face[:2].ravel().round(1).tolist() for face in faces], _chosen(photo, faces)

    async def _crop(self, photo: _Photo, model: FaceModel, pairs: Any) -> tuple:
        """Key and crop of the chosen face."""
        if photo.of_orl:
            key = ("crop", model.name, photo.name)
            return key, await self._keep(key, pairs.image, photo.name)
        _, faces = await self._keep(("faces", photo.sha256, model.alignment), _faces, photo, model.alignment)
        number, cut = _chosen(photo, faces), partial(alignment.crop, size=model.size, kind=model.alignment)
        key = ("crop", model.name, photo.sha256, number)
        return key, await self._keep(key, lambda: cut(alignment.read_photo(photo.data, photo.name), faces[number][2:]))

    async def _pair(self, model: FaceModel, pairs: Any) -> tuple:
        """Both crops as a pair, and their keys; what tabs show of them is as fresh as they are."""
        photos = [self.photos[role] for role in _ROLES]
        keys, crops = zip(*[await self._crop(photo, model, pairs) for photo in photos])
        names = [photo.name for photo in photos]
        same = person(names[0]) == person(names[1]) if all(photo.of_orl for photo in photos) else None
        self.kept |= {key: self.kept.pop(key) for tab in _TABS if (key := (tab, keys)) in self.kept}
        return Pair(crops[0], crops[1], same, names[0], names[1]), keys

    async def _show(self, asked: dict, model: FaceModel, pairs: Any, reply: dict) -> None:
        """The decision and what its tab shows."""
        tab = asked["tab"]
        pair, keys = await self._pair(model, pairs)
        faces = zip(keys, (pair.a, pair.b))
        a, b = [await self._keep((key, "embedding"), methods.embedding_of, model, x) for key, x in faces]
        score = float(a["embedding"] @ b["embedding"])
        low = max(-1, math.floor(10 * (min(score, decision_threshold(model)) - 0.15)) / 10)
        reply |= {"score": score, "own": model.threshold, "low": low, "same": pair.same}
        check_known("tab", tab, ["maps", *_TABS])
        if tab == "maps":
            reply |= _pictures(await self._explain(asked, model, pair, keys))
            return
        shown = await self._keep((tab, keys), _TABS[tab][0], model, pair)
        if asked["needs"]:
            reply |= shown

    async def _explain(self, asked: dict, model: FaceModel, pair: Pair, keys: tuple) -> methods.Explanation:
        """The explanation; what follows from one face alone is kept for every partner and threshold."""
        method, threshold = asked["method"], decision_threshold(model, asked["threshold"])
        how, faces = methods.method_called(method, model), zip(keys, (pair.a, pair.b))
        first = method if how.prepare else "embedding"
        prepared = [await self._keep((key, first), how.first, model, x, {}) for key, x in faces]
        stage: Any = how.finish or how.pair
        given = methods.explain_prepared, model, pair, method, *prepared, threshold
        if {"embed", "model"}.isdisjoint(asks := signature(stage).parameters):  # no network: nobody waits for it
            return await asyncio.to_thread(*given)
        by = threshold if "threshold" in asks else None
        return replace(await self._keep((method, keys, by), *given), pair=pair, threshold=threshold)

    async def _download(self, asked: dict) -> None:
        """The maps, by the settings that the page has now, as a picture or in a report."""
        if len(self.photos) < 2:
            raise ValueError("there are no maps yet: choose two photographs")
        model, pairs, sha256 = await self._recogniser(asked["recogniser"])
        pair, keys = await self._pair(model, pairs)
        e = await self._explain(asked, model, pair, keys)
        tabs = {tab: self.kept[tab, keys] for tab in _TABS if (tab, keys) in self.kept}
        if asked["do"] == "png":
            about, given = {"file": "face-maps.png", "type": "image/png"}, (_pair_png, e)
        else:
            about = {"file": "face-report.html", "type": "text/html"}
            given = (_report, e, model, sha256, [self.photos[role] for role in _ROLES], tabs)
        content = await self._compute(*given)
        await self._send(json.dumps({"number": self.number} | about).encode() + b"\n" + content)


def application(*hosts: str) -> web.Application:
    """The app, which answers to the names of its own machine and ``hosts``.

    Example:
        >>> application().settings["websocket_max_message_size"] > LARGEST_UPLOAD
        True
    """
    return web.Application(
        [("/", _Page), ("/visit", _Visit)],
        template_loader=_PAGES,
        hosts={*_LOCAL, *map(str.lower, hosts)},  # as Tornado has the name that is asked for
        websocket_max_message_size=LARGEST_UPLOAD + 10_000,
        websocket_ping_interval=20,  # a connection that broke without a word is a visit that ended
        lock=asyncio.Lock(),
        models={},
        visits=set(),
        log_function=lambda handler: None,
    )


async def serve(sockets: list, host: str = "127.0.0.1", browser: bool = True) -> None:
    """Serve the app until it is interrupted; the first recogniser is loaded while the page opens.

    Args:
        sockets: that listen, from ``tornado.netutil.bind_sockets``.
        host: the name or address at which they listen; other machines reach the app only if it belongs to the network.
        browser: open the page.
    """
    name = f"[{host}]" if ":" in host else host
    app = application(name)
    httpserver.HTTPServer(app, max_body_size=1000).add_sockets(sockets)
    address = f"http://{name}:{sockets[0].getsockname()[1]}"
    print(f"The app is at {address}; Ctrl+C ends it.", flush=True)
    try:
        async with app.settings["lock"]:
            opened = asyncio.to_thread(webbrowser.open, address) if browser else asyncio.sleep(0)
            opening, first = asyncio.create_task(opened), next(iter(BUNDLED))
            app.settings["models"][first] = await asyncio.to_thread(_load, first)
        await opening
        await asyncio.Event().wait()
    finally:
        for visit in app.settings["visits"]:
            visit.on_close()  # or the end would wait for what they compute


def main() -> None:
    """The command line: ``python -m xfvlib.app --help``."""
    parser = argparse.ArgumentParser(prog="python -m xfvlib.app", description="Face verification, explained, in a page")
    parser.add_argument("--host", default="127.0.0.1", help="address of this machine at which others may use the app")
    parser.add_argument("--port", type=int, default=8920)
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    given = parser.parse_args()
    if given.port not in range(65536):
        parser.error(f"there is no port {given.port}: choose a --port from 0, for any that is free, to 65535")
    try:
        sockets = netutil.bind_sockets(given.port, given.host)
    except (OSError, UnicodeError) as error:
        parser.error(f"cannot listen at {given.host}, port {given.port}: choose another --host or --port ({error})")
    if any(ip_address(one.getsockname()[0]).is_unspecified for one in sockets):
        parser.error(f"{given.host!r} is no address to open: give the one by which others reach this machine")
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(sockets, given.host, not given.no_browser))
    print()


if __name__ == "__main__":
    main()
