"""What a worker does with one block of pairs: read, embed, prepare, explain, score, write."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import cloudpickle
import safetensors.torch
import torch
from filelock import FileLock

from xfvlib.faithfulness.table import deletion_rows, sides_wanted
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
    block, how, crops, errors = job.pairs[job.tiles[number]], job.settings, {}, {}
    costs: dict = Counter(block=number, preparations=0, preparing=0)
    with _timed(costs, "reading"):
        for name in block.names:
            try:
                crops[name] = block.pair(name, name).a
            except Exception as error:  # whatever a decoder finds wrong with one file, the others can go on
                errors[name] = f"{name}: {type(error).__name__}: {error}"
    costs.update(pairs=len(block), images=len(crops))
    with _timed(costs, "embedding"):
        # one at a time: as in preparations, and the same whatever else is in the block
        embeddings = {name: embedding_of(job.model, crop) for name, crop in crops.items()}
    both = zip(block.table.name_a, block.table.name_b)
    wrong = ["; ".join(errors[name] for name in names if name in errors) for names in both]
    table = block.table.assign(pair=job.tiles[number], threshold=how["threshold"], error=wrong)
    rows, table = table[table.error != ""].to_dict("records"), table[table.error == ""]
    pairs = dict(zip(table.pair.tolist(), PairSet(block.name, table, crops)))
    maps = _maps(job, pairs, crops, embeddings, costs)
    with _timed(costs, "scoring"):
        given = {name: how[name] for name in ("threshold", "controls", "seed")}
        for n, pair in pairs.items():
            given["clean"] = torch.stack([embeddings[name]["embedding"] for name in (pair.name_a, pair.name_b)])
            rows += [{"pair": n} | row for row in deletion_rows(job.model, pair, maps[n], how["metrics"], **given)]
    if how["maps"]:
        folder.write_maps(job, number, maps)
    costs["total"] = time.perf_counter() - start
    folder.write_block(job, number, rows, costs)


@lru_cache(1)
def _loaded(path, digest):
    """The job, read once a process. The hash came with the task: what somebody else put there is not unpickled."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} is not the job that this sweep wrote; leave its scratch folder alone")
    return cloudpickle.loads(content)


def _maps(job, pairs, crops, embeddings, costs):
    """Signed maps: ``{number of the pair: {label: [map_a, map_b]}}``, None where none is needed."""
    maps = {n: {label: [None, None] for label in job.settings["methods"]} for n in pairs}
    asked = []
    for n, pair in pairs.items():
        sides = 2 if job.settings["maps"] else sides_wanted(job.settings["metrics"], pair.same)
        asked += [(pair.name_a, pair.name_b, n, 0), (pair.name_b, pair.name_a, n, 1)][:sides]
    # image by image, in another order than other blocks, so that workers seldom wait for the same one
    asked.sort(key=lambda one: hashlib.sha256(f"{costs['block']} {one[0]}".encode()).digest())
    supplied = {"model": job.model, "threshold": job.settings["threshold"]}
    for kind, methods in job.methods.items():
        every = any(method.of_partner(options) for method, options in methods.values())
        # one image's preparation is in memory at a time, unless a map needs the partner's too
        prepared = lru_cache(None if every else 1)(partial(_prepared, job, kind, crops, costs))
        for (image, partner, n, side), (label, (method, options)) in product(asked, methods.items()):
            own = prepared(image) if kind else {}
            other = prepared(partner) if method.of_partner(options) else embeddings[partner]
            supplied |= {"image": crops[image], "reference": crops[partner]}
            with _timed(costs, label):
                maps[n][label][side] = method.second(own, other, options, **supplied)
    return maps


def _prepared(job, kind, crops, costs, image):
    """The first stage of one image: from the scratch folder, or computed, and kept there if several blocks need it."""
    path = job.scratch / f"{hashlib.sha256(f'{job.name} {kind} {image}'.encode()).hexdigest()}.prepared"
    seal = lambda content: hashlib.sha256(path.name.encode() + content).digest()
    with FileLock(f"{path}.lock") if image in job.shared else nullcontext():  # another worker may be computing it
        content = path.read_bytes() if path.exists() else b""
        if content[:32] == seal(content[32:]):
            return safetensors.torch.load(content[32:])
        method, options = next(iter(job.methods[kind].values()))
        costs["preparations"] += 1
        with _timed(costs, "preparing"):
            found = method.first(job.model, crops[image], options)
        if image in job.shared:
            content = safetensors.torch.save({key: x.clone().contiguous() for key, x in found.items()})
            with suppress(OSError):  # the disk is full
                if sum(one.stat().st_size for one in job.scratch.glob("*.prepared")) + len(content) <= job.keep_bytes:
                    job.put(path, seal(content) + content)
    return found
