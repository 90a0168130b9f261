"""The tasks of a sweep: what a worker does with one block of pairs."""

import hashlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import cloudpickle
import safetensors.torch
import torch
from filelock import FileLock

from xfvlib.faithfulness.table import deletion_rows, sides_wanted
from xfvlib.methods import embedding_of
from xfvlib.pairs import Pair
from xfvlib.sweep.folder import Job, write_block
from xfvlib.sweep.maps import write_maps


def run_block(number: int, path: Path, digest: str) -> None:
    """Explain and score the pairs of one block of the job in a file, and write the block's file."""
    with one_torch_thread():
        job = _loaded(path, digest)
        costs = Counter(block=number, preparations=0, preparing=0)
        with _timed(costs, "total"):
            rows = _rows(job, number, costs)
        write_block(job, number, rows, costs)


@lru_cache(1)
def _loaded(path: Path, digest: str) -> Job:
    """The job, read once a process. The hash came with the task: what somebody else put there is not unpickled."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} is not the job that this sweep wrote; leave its scratch folder alone")
    return cloudpickle.loads(content)


def _rows(job, number, costs):
    """Rows of one block; maps are kept where the job says so."""
    numbers, how, crops, errors, pairs, rows = job.tiles[number].tolist(), job.settings, {}, {}, {}, []
    table = job.pairs.table.iloc[numbers].assign(pair=numbers, threshold=how["threshold"])
    with _timed(costs, "reading"):
        for name in job.pairs[numbers].names:
            try:
                crops[name] = job.pairs.pair(name, name).a
            except Exception as error:  # whatever a decoder finds wrong with one file, the others can go on
                errors[name] = f"{name}: {type(error).__name__}: {error}"
    costs.update(pairs=len(table), images=len(crops))
    with _timed(costs, "embedding"):
        # one at a time: as in preparations, and the same whatever else is in the block
        embeddings = {name: embedding_of(job.model, crop) for name, crop in crops.items()}
    for row in table[["pair", "name_a", "name_b", "same", "threshold"]].to_dict("records"):
        a, b = row["name_a"], row["name_b"]
        if a in crops and b in crops:
            pairs[row["pair"]] = Pair(crops[a], crops[b], bool(row["same"]), a, b)
        else:
            rows.append(row | {"error": "; ".join(errors[name] for name in (a, b) if name in errors)})
    maps = _maps(job, pairs, crops, embeddings, costs)
    with _timed(costs, "scoring"):
        given = {name: how[name] for name in ("threshold", "controls", "seed")}
        for n, pair in pairs.items():
            clean = torch.stack([embeddings[name]["embedding"] for name in (pair.name_a, pair.name_b)])
            found = deletion_rows(job.model, pair, maps[n], how["metrics"], clean=clean, **given)
            rows += [{"pair": n} | row for row in found]
    if how["maps"]:
        write_maps(job, number, maps)
    return rows


def _maps(job, pairs, crops, embeddings, costs):
    """Signed maps: ``{number of the pair: {label: [map_a, map_b]}}``, None where none is needed."""
    maps, asked = {n: {label: [None, None] for label in job.settings["methods"]} for n in pairs}, defaultdict(list)
    for n, pair in pairs.items():
        names = pair.name_a, pair.name_b
        for side in range(2 if job.settings["maps"] else sides_wanted(job.settings["metrics"], pair.same)):
            asked[names[side]].append((n, side, names[1 - side]))
    images = random.Random(costs["block"]).sample([*asked], len(asked))  # so that workers seldom wait for the same one
    supplied = {"model": job.model, "threshold": job.settings["threshold"]}
    for kind, methods in job.methods.items():
        whole = any(method.of_partner(options) for method, options in methods.values())
        # one image's preparation is in memory at a time, unless a map needs the partner's too
        prepared = lru_cache(None if whole else 1)(partial(_prepared, job, kind, crops, costs))
        for image, (label, (method, options)) in product(images, methods.items()):
            for n, side, partner in asked[image]:
                own = prepared(image) if kind else {}
                other = prepared(partner) if method.of_partner(options) else embeddings[partner]
                with _timed(costs, label):
                    given = {"image": crops[image], "reference": crops[partner]} | supplied
                    maps[n][label][side] = method.second(own, other, options, **given)
    return maps


def _prepared(job, kind, crops, costs, image):
    """The first stage of one image: from the scratch folder, or computed, and kept there if several blocks need it."""
    path = job.scratch / f"{hashlib.sha256(f'{job.name} {kind} {image}'.encode()).hexdigest()}.prepared"
    shared = image in job.shared
    with FileLock(f"{path}.lock") if shared else nullcontext():  # another worker may be computing it
        content = path.read_bytes() if path.exists() else b""
        if content[:32] == _digest(path, content[32:]):
            return safetensors.torch.load(content[32:])
        method, options = next(iter(job.methods[kind].values()))
        costs["preparations"] += 1
        with _timed(costs, "preparing"):
            found = method.first(job.model, crops[image], options)
        if shared:
            content = safetensors.torch.save({name: x.clone().contiguous() for name, x in found.items()})
            with suppress(OSError):  # the disk is full
                kept = sum(other.stat().st_size for other in job.scratch.glob("*.prepared"))
                if kept + len(content) <= job.keep_bytes:
                    job.put(path, _digest(path, content) + content)
    return found


def _digest(path, content):
    return hashlib.sha256(path.name.encode() + content).digest()


@contextmanager
def _timed(costs, name):
    start = time.perf_counter()
    yield
    costs[name] += time.perf_counter() - start


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have torch compute with one thread: workers stand side by side, and results do not depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
