"""What a worker does with one block of pairs: read, embed, prepare, explain, score, write."""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import cloudpickle
import safetensors.torch
import torch
from filelock import FileLock

from xfvlib.faithfulness.stand_ins import BY_PARTNER, OF_OTHERS, TURNED
from xfvlib.faithfulness.table import deletion_rows, maps_wanted, sides_wanted
from xfvlib.methods import embedding_of
from xfvlib.pairs import PairSet
from xfvlib.sweep import folder


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have torch compute with one thread: workers stand side by side, and results do not depend on their number."""
    with ExitStack() as at_the_end:
        at_the_end.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        yield


@contextmanager
def _timed(costs, name):
    start = time.perf_counter()
    yield
    costs[name] += time.perf_counter() - start


@one_torch_thread()
def run_block(number: int, path: Path, digest: str) -> None:
    """Explain and score the pairs of one block of the job in a file, and write the block's file."""
    job, start = _loaded(path, digest), time.perf_counter()
    block, how = job.pairs[job.tiles[number]], job.settings
    costs: dict = Counter(block=number, preparations=0, preparing=0)
    crops, embeddings, errors = _read(job, block.names, costs)
    costs.update(pairs=len(block), images=len(crops))
    both = zip(block.table.name_a, block.table.name_b)
    wrong = ["; ".join(errors[name] for name in names if name in errors) for names in both]
    table = block.table.assign(pair=job.tiles[number], threshold=how["threshold"], error=wrong)
    rows, table = table[table.error != ""].to_dict("records"), table[table.error == ""]
    pairs = dict(zip(table.pair.tolist(), PairSet(block.name, table, crops)))
    if borrows(job):
        lend = _lender(path, digest)
        maps, spent = _kept_maps(job, number)
        costs.update(spent)
    else:
        lend, maps = lambda n, sides: {}, _maps(job, pairs, crops, embeddings, costs)
    with _timed(costs, "scoring"):
        given = {name: how[name] for name in ("threshold", "controls", "seed")}
        for n, pair in pairs.items():
            given["clean"] = torch.stack([embeddings[name]["embedding"] for name in (pair.name_a, pair.name_b)])
            given["others"] = maps[n] | lend(n, sides_wanted(how["metrics"], pair.same))
            found = deletion_rows(job.model, pair, maps[n]["own"], how["metrics"], **given)
            rows += [{"pair": n} | row for row in found]
    if how["maps"]:
        folder.write_maps(job, number, {n: found["own"] for n, found in maps.items()})
    costs["total"] = time.perf_counter() - start + costs.pop("explaining", 0)
    folder.write_block(job, number, rows, costs)


def borrows(job: folder.Job) -> bool:
    """Whether pairs are scored with maps of other blocks' pairs, which :func:`explain_block` must have kept before."""
    return bool(maps_wanted(job.settings["metrics"]).intersection(OF_OTHERS))


@one_torch_thread()
def explain_block(number: int, path: Path, digest: str) -> None:
    """Keep the maps of one block's pairs in the scratch folder, unless they are there, for every block to borrow."""
    job, start = _loaded(path, digest), time.perf_counter()
    if _kept(_maps_path(job, number)) is None:
        block = job.pairs[job.tiles[number]]
        costs: dict = defaultdict(float)
        crops, embeddings, errors = _read(job, block.names, costs)
        readable = ~block.table[["name_a", "name_b"]].isin(list(errors)).any(axis=1).to_numpy()
        pairs = dict(zip(job.tiles[number][readable].tolist(), PairSet(block.name, block.table[readable], crops)))
        maps = _maps(job, pairs, crops, embeddings, costs)
        listed = [(n, which, label) for n, found in maps.items() for which in found for label in found[which]]
        tensors = {
            json.dumps([*one, side]): saliency
            for one in listed
            for side, saliency in enumerate(maps[one[0]][one[1]][one[2]])
            if saliency is not None
        }
        costs["explaining"] = time.perf_counter() - start
        about = json.dumps({"pairs": [*pairs], "labels": [*job.settings["methods"]], "costs": costs}).encode()
        _keep(job, _maps_path(job, number), tensors | {"about": torch.frombuffer(bytearray(about), dtype=torch.uint8)})


def _maps_path(job, number):
    return job.scratch / f"maps-{number:06d}.kept"


@lru_cache(16)
def _maps_of_file(path):
    """What :func:`explain_block` kept: ``{number of the pair: {map: {label: [map_a, map_b]}}}``, and costs."""
    if (tensors := _kept(path)) is None:
        raise FileNotFoundError(f"{path} is missing or damaged; call xfv.sweep again, which makes it anew")
    about = json.loads(bytes(tensors.pop("about").tolist()))
    maps: dict = {n: {"own": {label: [None, None] for label in about["labels"]}} for n in about["pairs"]}
    for key, saliency in tensors.items():
        n, which, label, side = json.loads(key)
        of_map = maps[n].setdefault(which, {label: [None, None] for label in about["labels"]})
        of_map[label][side] = saliency
    return maps, about["costs"]


def _kept_maps(job, number):
    return _maps_of_file(_maps_path(job, number))


@lru_cache(1)
def _lender(path, digest):
    """Other pairs' own maps, for pairs by their numbers; every worker reads all of them once for the means."""
    job = _loaded(path, digest)
    places = {int(n): number for number, tile in enumerate(job.tiles) for n in tile}
    own = lambda n: _kept_maps(job, places[n])[0].get(n, {}).get("own", {})
    return job.plan.lender(maps_wanted(job.settings["metrics"]), own, places)


def _read(job, names, costs):
    """Crops and embeddings of images by their names, and what is wrong with those that cannot be read."""
    crops, errors = {}, {}
    with _timed(costs, "reading"):
        for name in names:
            try:
                crops[name] = job.pairs.pair(name, name).a
            except Exception as error:  # whatever a decoder finds wrong with one file, the others can go on
                errors[name] = f"{name}: {type(error).__name__}: {error}"
    with _timed(costs, "embedding"):
        # one at a time: as in preparations, and the same whatever else is in the block
        return crops, {name: embedding_of(job.model, crop) for name, crop in crops.items()}, errors


@lru_cache(1)
def _loaded(path, digest):
    """The job, read once a process. The hash came with the task: what somebody else put there is not unpickled."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} is not the job that this sweep wrote; leave its scratch folder alone")
    return cloudpickle.loads(content)


def _maps(job, pairs, crops, embeddings, costs):
    """Signed maps: ``{number of the pair: {map: {label: [map_a, map_b]}}}``, None where none is needed."""
    metrics, maps, asked = job.settings["metrics"], {}, []
    for n, pair in pairs.items():
        sides = 2 if job.settings["maps"] else sides_wanted(metrics, pair.same)
        ways = {"own": [pair.name_b, pair.name_a][:sides]}
        for which in maps_wanted(metrics).intersection(BY_PARTNER):
            if partners := job.plan.partners_of(n, which, sides_wanted(metrics, pair.same, which)):
                ways[which] = partners
        maps[n] = {which: {label: [None, None] for label in job.settings["methods"]} for which in ways}
        both = pair.name_a, pair.name_b
        asked += [(both[side], x, n, which, side) for which, names in ways.items() for side, x in enumerate(names)]
    missing = dict.fromkeys(partner for _, partner, *_ in asked if partner not in crops)
    others = _read(job, missing, costs)  # of whom the plan knows that they can be read
    crops, embeddings = crops | others[0], embeddings | others[1]
    # image by image, in another order than other blocks, so that workers seldom wait for the same one
    asked.sort(key=lambda one: hashlib.sha256(f"{costs['block']} {one[0]}".encode()).digest())
    supplied = {"model": job.model, "threshold": job.settings["threshold"]}
    for kind, methods in job.methods.items():
        every = any(method.of_partner(options) for method, options in methods.values())
        # one image's preparation is in memory at a time, unless a map needs the partner's too
        prepared = lru_cache(None if every else 1)(partial(_prepared, job, kind, crops, costs))
        for (image, partner, n, which, side), (label, (method, options)) in product(asked, methods.items()):
            own = prepared(image) if kind else {}
            other = prepared(partner) if method.of_partner(options) else embeddings[partner]
            supplied |= {"image": crops[image], "reference": crops[partner]}
            with _timed(costs, label):
                saliency = method.second(own, other, options, **supplied)
            maps[n][which][label][side] = TURNED.get(which, 1) * saliency
    return maps


def _prepared(job, kind, crops, costs, image):
    """The first stage of one image: from the scratch folder, or computed, and kept there if several blocks need it."""
    path = job.scratch / f"{hashlib.sha256(f'{job.name} {kind} {image}'.encode()).hexdigest()}.prepared"
    with FileLock(f"{path}.lock") if image in job.shared else nullcontext():  # another worker may be computing it
        if (found := _kept(path)) is not None:
            return found
        method, options = next(iter(job.methods[kind].values()))
        costs["preparations"] += 1
        with _timed(costs, "preparing"):
            found = method.first(job.model, crops[image], options)
        if image in job.shared:
            with suppress(OSError):  # the disk is full
                _keep(job, path, found, job.keep_bytes)
    return found


def _kept(path):
    """Tensors of a file in the scratch folder; None where it is missing or not whole."""
    content = path.read_bytes() if path.exists() else b""
    return safetensors.torch.load(content[32:]) if content[:32] == _seal(path, content[32:]) else None


def _keep(job, path, tensors, most=float("inf")):
    """Write such a file, if with it the files of its kind have at most so many bytes."""
    content = safetensors.torch.save({key: x.clone().contiguous() for key, x in tensors.items()})
    if sum(one.stat().st_size for one in job.scratch.glob(f"*{path.suffix}")) + len(content) <= most:
        job.put(path, _seal(path, content) + content)


def _seal(path, content):
    return hashlib.sha256(path.name.encode() + content).digest()
