"""The app without a browser: what its visits are told, refused, and what becomes of their photographs."""

import asyncio
import base64
import gc
import html
import io
import json
import os
import re
import sys
import time
import zlib
from collections import Counter
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from tornado import httpclient, httpserver, testing, websocket

import xfvlib as xfv
from xfvlib import app
from xfvlib.pairs import orl_photo_path


class Slow(nn.Module):
    """A small network for crops of the default size, which can be told to take its time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pause, self.images = 0.0, 0
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 7, 4), nn.PReLU(), nn.Conv2d(8, 16, 5, 3), nn.Flatten(), nn.Linear(1024, 128)
        )

    def forward(self, x):
        time.sleep(self.pause)
        self.images += len(x)
        return self.layers(x)


LATE = xfv.Method(  # whose second stage needs the network, as MinPlus does
    prepare=lambda model, image: {},
    finish=lambda prepared, partner, embed, image: embed(lambda some: image[None], 1).mean() * image.mean(dim=0),
)


def saved(picture, kind="JPEG", **options):
    picture.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def photo(*names, kind="JPEG"):
    """ORL photographs side by side, three times as large."""
    whole = Image.new("RGB", (276 * len(names), 336))
    for at, name in enumerate(names):
        whole.paste(Image.open(orl_photo_path(name)).resize((276, 336)), (276 * at, 0))
    return saved(whole, kind, quality=95)


def bomb():
    """A PNG of a few bytes whose header says 8,000 × 8,000 pixels."""
    block = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    header = (8000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    blocks = block(b"IHDR", header), block(b"IDAT", zlib.compress(bytes(1000))), block(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(blocks)


GREY = Image.new("RGB", (300, 300), "grey")
BAD = {  # file → what its error says
    "empty.jpg": (b"", "empty.jpg is empty"),
    "large.jpg": (b"\xff\xd8\xff" + bytes(10_000_000), "10.0 MB; a photograph of at most 10 MB"),
    "words.txt": (b"not a picture at all", "neither JPEG nor PNG"),
    "words.jpg": (b"not a picture, whatever its name", "neither JPEG nor PNG, whatever its name"),
    "page.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "neither JPEG nor PNG"),
    "moving.gif": (saved(GREY, "GIF", save_all=True, append_images=[GREY.rotate(9)]), "neither JPEG nor PNG"),
    "half.jpg": (photo("s1/1")[:3000], "half.jpg is damaged or not an image"),
    "half.png": (photo("s1/1", kind="PNG")[:9000], "half.png is damaged or not an image"),
    "bomb.png": (bomb(), "8000×8000 pixels"),
    "wall.jpg": (saved(GREY), "no face was found in wall.jpg"),
    "tiny.png": (saved(GREY.resize((1, 1)), "PNG"), "no face was found in tiny.png"),
    "scans.jpg": (b"\xff\xd8\xff" + b"\xff\xda" * 300, "200 scans"),
}  # fmt: skip


class Visitor:
    """What the page does: asks one thing after the other, and keeps what it is told."""

    def __init__(self, socket):
        self.socket, self.number, self.said = socket, 0, []

    async def send(self, file=None, **change):
        self.number += 1
        given = {"do": "change", "recogniser": "sface", "method": "gradient", "threshold": None, "tab": "maps"}
        head = json.dumps(given | {"needs": True, "number": self.number} | change).encode()
        await self.socket.write_message(head if file is None else head + b"\n" + file, binary=file is not None)

    async def answer(self):
        while (told := await self.socket.read_message()) is not None:
            if isinstance(told, bytes):
                self.file = told.partition(b"\n")[2]
                continue
            self.said.append(json.loads(told))
            if self.said[-1].get("done"):
                return self.said[-1]
        return None

    async def ask(self, file=None, **change):
        await self.send(file, **change)
        return await self.answer()


@pytest.fixture
def network(monkeypatch):
    slow = Slow()
    monkeypatch.setattr(app, "load_model", lambda name: xfv.FaceModel(slow, name=name, threshold=0.3))
    return slow


@asynccontextmanager
async def served():
    """The app on a free port, and a function that opens a visit of it."""
    made = app.application()
    server = httpserver.HTTPServer(made, max_body_size=1000)
    socket, port = testing.bind_unused_port()
    server.add_socket(socket)
    visitors = []

    async def visit(**headers):
        request = httpclient.HTTPRequest(f"ws://127.0.0.1:{port}/visit", headers=headers)
        visitors.append(Visitor(await websocket.websocket_connect(request)))
        return visitors[-1]

    visit.app, visit.port = made, port
    try:
        yield visit
    finally:
        for one in visitors:
            one.socket.close()
        await until(lambda: not made.settings["visits"])
        server.stop()


async def until(true):
    for _ in range(600):
        if true():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


def run(body):
    async def whole():
        async with served() as visit:
            await asyncio.wait_for(body(visit), 120)

    asyncio.run(whole())


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))


@pytest.mark.parametrize("method", ["fggb", "xssab", "gradient", "late"])
def test_the_page_is_told_what_explain_says_and_a_threshold_costs_no_pass_that_it_need_not(
    network, monkeypatch, method
):
    monkeypatch.setitem(xfv.METHODS, "late", LATE)
    assert app.patience("late") == ""  # nobody knows

    async def body(visit):
        visitor = await visit()
        first = await visitor.ask(pair="first", method=method)
        model, pairs, _ = visit.app.settings["models"]["sface"]
        assert first["sides"]["probe"]["name"] == pairs[0].name_a and first["same"] is True
        before = network.images
        for threshold in (0.9, -0.5, None):
            told = await visitor.ask(method=method, threshold=threshold)
            assert told["own"] == 0.3
            assert network.images == before or method == "xssab"
            app._visit.set(type("Free", (), {"step": staticmethod(lambda images: None)}))
            e = xfv.explain(model, pairs[0], method, threshold)
            before = network.images
            assert told["score"] == pytest.approx(e.score, abs=1e-5)
            drawn = app._pictures(e)["maps"]
            for (crop, over, *words), (crop_, over_, *words_) in zip(told["maps"], drawn):
                assert words == words_ and method in words[0]
                assert np.array_equal(pixels(crop), pixels(crop_))
                assert np.abs(pixels(over).astype(int) - pixels(over_)).mean() < 1
                assert not np.array_equal(pixels(over), pixels(crop))

    run(body)


def test_photographs_of_ones_own_are_cropped_as_align_does_and_any_of_their_faces_can_be_chosen(network):
    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        three = photo("s1/1", "s2/1", "s4/1")
        told = await visitor.ask(three, role="probe", name="three.jpg")
        side = told["sides"]["probe"]
        assert side["name"] == "three.jpg" and side["size"] == [828, 336] and len(side["faces"]) == 3
        lefts = [box[0] for box in side["faces"]]
        assert lefts == sorted(lefts) and told["same"] is None
        model = visit.app.settings["models"]["sface"][0]
        with pytest.warns(UserWarning, match="3 faces"):
            largest = xfv.align(three, model)
        assert np.array_equal(pixels(told["maps"][0][0]), (255 * largest.permute(1, 2, 0)).round().byte().numpy())
        crops = set()
        for number, (left, top, right, bottom) in enumerate(side["faces"]):
            middle = [(left + right) / 2, (top + bottom) / 2]
            told = await visitor.ask(role="probe", face=middle)
            assert told["sides"]["probe"]["chosen"] == number
            crops.add(told["maps"][0][0])
        assert len(crops) == 3
        told = await visitor.ask(recogniser="dlib-resnet")  # whose detector is another: the same face stays chosen
        assert told["sides"]["probe"]["chosen"] == len(told["sides"]["probe"]["faces"]) - 1

    run(body)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_photograph_is_refused_in_words_and_the_next_good_one_is_taken(network, caplog, name):
    content, words = BAD[name]

    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        told = await visitor.ask(content, role="probe", name=name)
        assert name in told["error"] and re.search(words, told["error"])
        assert told["sides"]["probe"] is None and told["sides"]["reference"] and "maps" not in told
        assert "Error" not in told["error"].partition("(")[0]
        told = await visitor.ask(photo("s1/2"), role="probe", name="good.jpg")
        assert told["maps"] and "error" not in told

    run(body)
    assert name not in caplog.text


def test_a_pixel_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="8000×8000"):
        app._faces(app._uploaded("bomb.png", bomb()), "arcface")


def test_a_message_larger_than_a_photograph_ends_its_own_visit_only(network):
    async def body(visit):
        visitor, other = await visit(), await visit()
        await other.ask(pair="first")
        with suppress(websocket.WebSocketClosedError):
            await visitor.send(bytes(app.LARGEST_UPLOAD + 20_000), role="probe", name="x.jpg")
        assert await visitor.answer() is None and not visitor.said
        await until(lambda: len(visit.app.settings["visits"]) == 1)
        assert (await other.ask())["maps"]

    run(body)


@pytest.mark.parametrize(
    "message",
    ["no JSON", "[]", "{}", '{"do": "change"}', b"\xff\n", '{"do": "cancel", "number": []}', "[" * 4000,
     '{"do": "cancel", "number": Infinity}', '{"do": "change", "number": 1e999}', '{"do": "' + "x" * 5000 + '"}'],
)  # fmt: skip
def test_what_the_page_does_not_send_ends_the_visit(network, message):
    async def body(visit):
        visitor = await visit()
        await visitor.socket.write_message(message, binary=isinstance(message, bytes))
        assert await visitor.answer() is None and visitor.socket.close_code == 1008

    run(body)


def test_more_messages_than_a_page_has_under_way_end_the_visit(network):
    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        async with visit.app.settings["lock"]:
            for _ in range(app._MOST_WAITING + 3):
                await visitor.send(method="occlusion")
            assert await visitor.answer() is None and visitor.socket.close_code == 1008

    run(body)


@pytest.mark.parametrize(
    "change",
    [{"method": "magic"}, {"recogniser": "../x"}, {"tab": "x"}, {"threshold": 2}, {"role": "probe", "orl": "../1"},
     {"role": "probe", "face": ["x", 1]}, {"method": []}],
)  # fmt: skip
def test_odd_settings_are_answered_in_words(network, change):
    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        assert (await visitor.ask(**change))["error"]
        assert (await visitor.ask(pair="same"))["maps"]

    run(body)


def test_visitors_do_not_see_each_other(network):
    async def body(visit):
        one, two = await visit(), await visit()
        await one.ask(pair="first")
        await one.ask(photo("s5/1"), role="probe", name="secret.jpg")
        assert (await two.ask())["sides"] == {}
        assert (await two.ask(do="png"))["error"].startswith("there are no maps yet")
        told = await two.ask(pair="different")
        assert told["same"] is False and "secret" not in json.dumps(two.said)
        await two.ask(do="report")
        assert b"secret" not in two.file
        await one.ask(do="report")
        assert b"secret.jpg" in one.file

    run(body)


def test_what_a_visit_held_is_forgotten_when_it_ends_and_nothing_was_written(network):
    written, watching = [], [False]

    def audit(event, arguments):
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        if event == "open" and watching[0] and arguments[2] & writing and "__pycache__" not in str(arguments[0]):
            written.append(arguments[0])

    def held():
        gc.collect()
        return Counter(type(one).__name__ for one in gc.get_objects())

    sys.addaudithook(audit)

    async def body(visit):
        visitor, kinds = await visit(), ("_Photo", "Explanation", "Pair")
        await visitor.ask(method="gradient")  # which loads the recogniser
        before = held()
        await visitor.ask(pair="first")
        watching[0] = True
        await visitor.ask(photo("s1/1", "s2/1"), role="probe", name="two.jpg")
        await visitor.ask(method="occlusion")
        await visitor.ask(tab="frequency")
        for kind in ("png", "report"):
            await visitor.ask(do=kind)
        during = held()
        assert all(during[kind] > before[kind] for kind in kinds)
        visitor.socket.close()
        await until(lambda: not visit.app.settings["visits"])
        watching[0] = False
        after = held()
        assert all(after[kind] <= before[kind] for kind in kinds)

    run(body)
    assert not written


def test_a_visit_that_ends_while_it_computes_stops_the_computation(network):
    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        network.pause = 0.05
        await visitor.send(method="minplus")
        await until(lambda: visit.app.settings["lock"].locked())
        visitor.socket.close()
        await until(lambda: not visit.app.settings["visits"])
        before = network.images
        await asyncio.sleep(0.3)
        assert network.images == before

    run(body)


def test_a_computation_tells_its_progress_lets_others_wait_and_can_be_cancelled(network):
    async def body(visit):
        one, two = await visit(), await visit()
        for visitor in (one, two):
            await visitor.ask(pair="first")
        await one.ask(method="fggb")
        network.pause = 0.05
        await two.send(method="minplus")
        await until(lambda: visit.app.settings["lock"].locked())
        told = await one.ask(method="fggb", threshold=0.9)  # from kept preparations: it does not wait
        assert told["maps"] and not any("said" in said for said in one.said)
        await one.send(method="occlusion")
        before = network.images
        await until(lambda: network.images > before + 200)
        progress = []
        while len({said["progress"] for said in progress}) < 3:
            progress += [said for said in [json.loads(await two.socket.read_message())] if "progress" in said]
        await two.socket.write_message(json.dumps({"do": "cancel", "number": two.number}))
        told = await two.answer()
        assert told["said"] == "Cancelled." and "maps" not in told
        counts = [said["progress"] for said in progress]
        assert counts == sorted(counts) and progress[0]["of"] == xfv.METHODS["minplus"].passes
        network.pause = 0
        assert (await one.answer())["maps"]
        assert any(said.get("said", "").startswith("Waiting") for said in one.said)
        assert (await two.ask())["maps"]

    run(body)


def test_who_waits_can_cancel(network):
    async def body(visit):
        one, two = await visit(), await visit()
        for visitor in (one, two):
            await visitor.ask(pair="first")
        network.pause = 0.05
        await two.send(method="minplus")
        await until(lambda: visit.app.settings["lock"].locked())
        await one.send(method="occlusion")
        await one.socket.write_message(json.dumps({"do": "cancel", "number": one.number}))
        assert (await one.answer())["said"] == "Cancelled."
        assert visit.app.settings["lock"].locked()

    run(body)


def test_a_gradient_can_be_cancelled_between_its_backward_passes(network):
    model = xfv.FaceModel(network)
    model.register_forward_hook(app._counted)
    steps = []

    class Impatient:
        def step(self, images):
            steps.append(images)
            if len(steps) == 3:
                raise app._Cancelled

    app._visit.set(Impatient())
    with pytest.raises(app._Cancelled):
        xfv.channel_gradients(model, torch.rand(3, 112, 112))
    assert steps == [16, 16, 16]  # forward, and two of eight backward


def test_costs_are_counted(network, pairs):
    model, counted = xfv.FaceModel(network, threshold=0.3), [0]
    model.register_forward_hook(app._counted)
    app._visit.set(type("Counting", (), {"step": lambda self, images: counted.append(images)})())
    costs = {name: method.passes for name, method in xfv.METHODS.items()}
    costs |= {tab: passes for tab, (_, passes) in app._TABS.items()}
    for name in {*costs} - {"fame", "minplus"}:  # how far these two walk, the photographs decide
        counted.clear()
        if name in xfv.METHODS:
            xfv.explain(model, pairs[0], name)
        else:
            getattr(xfv, f"{name}_influence" if name == "frequency" else name)(model, pairs[0])
        assert sum(counted) == pytest.approx(costs[name], rel=0.1, abs=3), name


def test_the_report_holds_all_it_shows(network):
    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        content = photo("s1/1")
        name = "<b>&.jpg"
        await visitor.ask(content, role="probe", name=name)
        for tab in ("interaction", "frequency"):
            told = await visitor.ask(tab=tab)
            assert "error" not in told
        await visitor.ask(do="report")
        report = visitor.file.decode()
        assert not re.search(r"<b>|(src|href)=\"(?!data:)|https?://(?!www\.w3\.org)", report)
        _, _, sha256 = visit.app.settings["models"]["sface"]
        said = re.sub(r"<[^>]+>", "", report)
        for held in (app.hashlib.sha256(content).hexdigest(), sha256, torch.__version__, xfv.__version__, "0.3000"):
            assert held in said
        assert report.count("data:image/png;base64,") >= 2 and "interactionView" in report and "heat plots" in report
        await visitor.ask(do="png")
        assert Image.open(io.BytesIO(visitor.file)).format == "PNG"
        for threshold in (0.9, -0.5):  # what the page says now, whatever it has shown
            await visitor.ask(tab="interaction", threshold=threshold)
            await visitor.ask(do="report", tab="interaction", threshold=threshold, method="xssab")
            said = re.sub(r"<[^>]+>", "", visitor.file.decode())
            decision = "Accepted" if threshold < 0 else "Rejected"
            assert f"{threshold:.4f}; the recogniser's own is 0.3000" in html.unescape(said)
            assert f"{decision}: " in said and "xssab, with" in said
        await visitor.ask(b"", role="probe", name="empty.jpg")
        assert (await visitor.ask(do="png"))["error"].startswith("there are no maps yet")

    run(body)


def test_the_report_holds_what_the_tabs_show_however_often_the_threshold_was_moved(network):
    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        for tab in ("interaction", "frequency"):
            await visitor.ask(tab=tab)
        for step in range(app._MOST_KEPT + 1):
            await visitor.ask(method="xssab", threshold=step / 20, drag=True)
        await visitor.ask(do="report", method="xssab")
        assert b"interactionView" in visitor.file and b"heat plots" in visitor.file

    run(body)


def test_a_face_of_no_photograph_is_refused_in_words(network):
    async def body(visit):
        visitor = await visit()
        told = await visitor.ask(role="probe", face=[1, 1])
        assert told["error"] == "there is no photograph to choose a face of: bring one first"
        assert (await visitor.ask(pair="same"))["maps"]

    run(body)


def test_progress_begins_anew_before_a_recogniser_is_loaded(network, monkeypatch):
    load = app._load
    monkeypatch.setattr(app, "_load", lambda name: time.sleep(1) or load(name))

    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first", method="occlusion")
        del visitor.said[:]
        await visitor.ask(recogniser="dlib-resnet")
        first = next(said for said in visitor.said if "progress" in said)
        assert (first["progress"], first["of"]) == (0, xfv.METHODS["gradient"].passes)

    run(body)


def test_a_drag_rebuilds_no_photographs(network):
    async def body(visit):
        visitor = await visit()
        await visitor.ask(pair="first")
        told = await visitor.ask(threshold=0.9, drag=True)
        assert told["maps"] and not told["sides"] and (await visitor.ask(threshold=0.9))["sides"]

    run(body)


@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, 200), ({"Host": "localhost:1"}, 200), ({"Host": "[::1]:1"}, 200), ({"Host": "evil.example"}, 403),
     ({"Host": "127.0.0.1.evil.example:8920"}, 403), ({"Host": "0.0.0.0"}, 403)],
)  # fmt: skip
def test_the_page_answers_only_to_its_own_names(headers, code):
    async def body(visit):
        client = httpclient.AsyncHTTPClient()
        answer = await client.fetch(f"http://127.0.0.1:{visit.port}/", headers=headers, raise_error=False)
        assert answer.code == code
        if code == 200:
            policy, page = answer.headers["Content-Security-Policy"], answer.body.decode()
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
            nonce = re.search(r"script-src 'nonce-(.+?)'", policy)[1]
            assert page.count("<script") == page.count(f'<script nonce="{nonce}"') == 1
            assert not re.search(r"https?:|<link(?! rel=\"icon\" href=\"data:,\")|@import|url\(", page)
            assert answer.headers["Cache-Control"] == "no-store"
            again = await client.fetch(f"http://127.0.0.1:{visit.port}/")
            assert nonce not in again.headers["Content-Security-Policy"]

    run(body)


def test_a_name_that_it_is_given_is_one_of_its_own_however_it_is_written_and_says_what_it_means():
    async def body():
        socket, port = testing.bind_unused_port()
        server = httpserver.HTTPServer(app.application("MyMachine"))
        server.add_socket(socket)
        client, pages = httpclient.AsyncHTTPClient(), {}
        for host in ("mymachine", "MYMACHINE:1", "localhost"):
            pages[host] = (await client.fetch(f"http://127.0.0.1:{port}/", headers={"Host": host})).body.decode()
        server.stop()
        assert [host for host in pages if "not encrypted" not in pages[host]] == ["localhost"]

    asyncio.run(body())


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Host": "evil.example"},
     {"Host": "evil.example", "Origin": "http://evil.example"}],
)  # fmt: skip
def test_no_page_from_elsewhere_can_open_a_visit(headers):
    async def body(visit):
        with pytest.raises(httpclient.HTTPClientError) as refused:
            await visit(**headers)
        assert refused.value.code == 403
        await visit(Origin=f"http://127.0.0.1:{visit.port}")

    run(body)


def test_visits_are_limited(monkeypatch, network):
    monkeypatch.setattr(app, "_MOST_VISITS", 1)

    async def body(visit):
        one, two = await visit(), await visit()
        assert await two.answer() is None and two.socket.close_code == 1013
        assert (await one.ask(pair="first"))["maps"]

    run(body)


def test_it_listens_at_loopback_unless_told_otherwise(monkeypatch):
    bound = []
    monkeypatch.setattr(app.netutil, "bind_sockets", lambda port, host: bound.append((port, host)) or 1 / 0)
    monkeypatch.setattr(sys, "argv", ["app", "--no-browser"])
    with pytest.raises(ZeroDivisionError):
        app.main()
    assert bound == [(8920, "127.0.0.1")]


@pytest.mark.parametrize(
    ("given", "words"),
    [(["--host", "0.0.0.0"], "no address to open"), (["--host", "::"], "no address to open"),
     (["--host", ""], "no address to open"), (["--host", "0"], "no address to open"),
     (["--host", "a" * 70], "cannot listen"), (["--host", "192.0.2.1"], "cannot listen"),
     (["--port", "70000"], "no port 70000"), (["--port", "-1"], "no port -1")],
)  # fmt: skip
def test_where_it_cannot_or_must_not_listen_is_said(monkeypatch, capsys, given, words):
    monkeypatch.setattr(app, "serve", lambda *given: pytest.fail("it listens"))
    monkeypatch.setattr(sys, "argv", ["app", "--port", "0", "--no-browser", *given])
    with pytest.raises(SystemExit):
        app.main()
    assert words in capsys.readouterr().err


def test_an_interrupt_does_not_wait_for_a_long_computation(network, capsys):
    async def body():
        task, said = asyncio.create_task(app.serve([testing.bind_unused_port()[0]], browser=False)), []
        await until(lambda: said.append(capsys.readouterr().out) or re.search(r":\d+;", "".join(said)))
        address = re.search(r"http://(127\.0\.0\.1:\d+)", "".join(said))[1]
        visitor = Visitor(await websocket.websocket_connect(f"ws://{address}/visit"))
        await visitor.ask(pair="first")
        network.pause = 0.2
        await visitor.send(method="minplus")
        await asyncio.sleep(1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(body())  # which waits for its threads
    assert network.images < 2000  # of 15,000


def test_a_port_that_is_taken_is_said(monkeypatch, capsys):
    socket, port = testing.bind_unused_port()
    monkeypatch.setattr(sys, "argv", ["app", "--port", str(port), "--no-browser"])
    with pytest.raises(SystemExit):
        app.main()
    assert f"port {port}: choose another" in capsys.readouterr().err
    socket.close()
