"""The tasks of a sweep: what one worker does with one block of pairs, or one image."""

import hashlib
import json
import pickle
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xfvlib.faithfulness.table import SCHEMA, deletion_rows, sides_wanted
from xfvlib.files import write_whole
from xfvlib.gradients import ChannelGradients, channel_gradients
from xfvlib.methods import both_maps
from xfvlib.methods.fggb import fggb_from_kept
from xfvlib.pairs import Pair
from xfvlib.sweep.folder import block_path, write_maps

ONE_AT_A_TIME = threading.Lock()  # a worker of several threads shares one model, and some methods put hooks into it


@lru_cache(1)
def loaded(job_path):
    """The job, read once a process."""
    return pickle.loads(Path(job_path).read_bytes())


def gradients_needed(job, numbers):
    """``(image, options)`` of the channel gradients that these pairs ask for, each once; the options as JSON."""
    options = {gradient_key(given) for name, _, given in job["methods"].values() if name == "fggb"}
    rows = job["pairs"].table.iloc[numbers]
    images = [image for row in rows.itertuples() for image in (row.name_a, row.name_b)[: sides(job, row.same)]]
    return [(image, key) for image in dict.fromkeys(images) for key in sorted(options)]


def sides(job, same):
    """How many maps a genuine or impostor pair needs: 0, 1 (the probe's) or 2."""
    return 2 if job["maps"] is not None else sides_wanted(job["settings"], bool(same))


def gradient_key(options):
    """The options of FGGB that its channel gradients depend on, as JSON."""
    return json.dumps({key: value for key, value in sorted(options.items()) if key != "blur"})


def gradient_path(out, image, key):
    return out / "gradients" / f"{hashlib.sha256(f'{image} {key}'.encode()).hexdigest()[:24]}.npy"


def keep_gradients(job_path, image, key):
    """Task: write one image's channel gradients into the folder. Returns what it cost; the blocks compute what could not be kept."""
    costs = defaultdict(float)
    with ONE_AT_A_TIME, one_torch_thread():
        job = loaded(job_path)
        path = gradient_path(job["out"], image, key)
        if not path.exists():
            try:
                crop = readable(job["pairs"], image)
            except Exception:  # the block records it
                return costs
            maps = computed_gradients(job["model"], crop, key, costs).maps.cpu().numpy()
            try:
                write_whole(path, lambda temporary: save_array(temporary, maps))
            except OSError:  # no room
                pass
    return costs


def save_array(path, array):
    with open(path, "wb") as file:  # numpy would add its own ending to the name
        np.save(file, array)


def computed_gradients(model, crop, key, costs):
    with timed(costs, "differentiating"):
        costs["gradients"] += 1
        return channel_gradients(model, crop, **json.loads(key))


def readable(pairs, name):
    """The crop called ``name``, once it is seen to be one."""
    crop = pairs.image(name)
    Pair(crop, crop, name_a=name)
    return crop


def run_block(job_path, number, first, before):
    """Task: explain and score the pairs of one block, and write its file.

    Args:
        first: costs of the gradients that were computed for this block first; they are added to the block's.
        before: unused: gradients that must be there before.
    """
    with ONE_AT_A_TIME, one_torch_thread():
        job, costs = loaded(job_path), defaultdict(float)
        with timed(costs, "total"):
            rows = block_rows(job, number, costs)
        for cost in first:
            for key, value in cost.items():
                costs[key] += value
            costs["total"] += cost.get("differentiating", 0)
        content = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({"costs": json.dumps({"block": number} | costs)}))
        write_whole(block_path(job["out"], number), lambda temporary: pq.write_table(content, temporary, compression="zstd"))


def block_rows(job, number, costs):
    """Rows of one block, in the order of its pairs; maps are kept where the job says so."""
    model, pairs, numbers = job["model"], job["pairs"], job["tiles"][number]
    table = pairs.table.iloc[numbers]
    crops, errors = {}, {}
    with timed(costs, "reading"):
        for name in pd.unique(table[["name_a", "name_b"]].to_numpy().ravel()):
            try:
                crops[name] = readable(pairs, name)
            except Exception as error:  # whatever a decoder finds wrong with one file, the others can go on
                errors[name] = f"{name}: {type(error).__name__}: {error}"
    costs["pairs"], costs["images"] = len(table), len(crops)
    with timed(costs, "embedding"), torch.no_grad():
        # one at a time: as for kept gradients, and the same whatever else is in the block
        embeddings = {name: model.embed(crop[None])[0] for name, crop in crops.items()}
    good = {n: row for n, row in zip(numbers, table.itertuples()) if row.name_a in crops and row.name_b in crops}
    maps = block_maps(job, {n: row for n, row in good.items() if sides(job, row.same)}, crops, embeddings, costs)
    rows = []
    with timed(costs, "scoring"):
        for n, row in zip(numbers, table.itertuples()):
            known = {"pair": int(n), "name_a": row.name_a, "name_b": row.name_b, "same": bool(row.same), "threshold": job["threshold"]}
            if n not in good:
                rows.append(known | {"error": "; ".join(errors[name] for name in (row.name_a, row.name_b) if name in errors)})
                continue
            pair = Pair(crops[row.name_a], crops[row.name_b], bool(row.same), row.name_a, row.name_b)
            clean = torch.stack([embeddings[row.name_a], embeddings[row.name_b]])
            found = deletion_rows(model, pair, maps.get(n, {}), job["settings"], threshold=job["threshold"],
                                  controls=job["controls"], seed=job["seed"], clean=clean)  # fmt: skip
            rows += [known | one for one in found]
    if job["maps"] is not None:
        write_maps(job, number, maps)
    return rows


def block_maps(job, rows, crops, embeddings, costs):
    """Signed maps of the given pairs: ``{pair: {label: [map_a, map_b]}}``, ``map_b`` None where only the probe's is needed."""
    model, threshold = job["model"], job["threshold"]
    maps = {n: {label: [None, None] for label in job["methods"]} for n in rows}
    asked = [(n, *side) for n, row in rows.items()
             for side in ((0, row.name_a, row.name_b), (1, row.name_b, row.name_a))[: sides(job, row.same)]]  # fmt: skip
    for label, (name, method, options) in job["methods"].items():
        if name != "fggb":
            with timed(costs, label):
                for n, row in rows.items():
                    a, b = crops[row.name_a], crops[row.name_b]
                    maps[n][label] = list(both_maps(method, model, a, b, sides=sides(job, row.same), threshold=threshold, **options))
    ours = {label: options for label, (name, _, options) in job["methods"].items() if name == "fggb"}
    for image in dict.fromkeys(side[2] for side in asked):
        for key in sorted({gradient_key(options) for options in ours.values()}):
            try:
                kept = ChannelGradients(embeddings[image], torch.from_numpy(np.load(gradient_path(job["out"], image, key))))
            except (OSError, ValueError, EOFError):  # not kept, or cut off by a loss of power
                kept = computed_gradients(model, crops[image], key, costs)
            for label, options in ours.items():
                if gradient_key(options) == key:
                    with timed(costs, label):
                        blur = {"blur": options["blur"]} if "blur" in options else {}
                        for n, side, _, partner in (one for one in asked if one[2] == image):
                            maps[n][label][side] = fggb_from_kept(kept, embeddings[partner], threshold=threshold, **blur)
    return maps


@contextmanager
def timed(costs, name):
    start = time.perf_counter()
    yield
    costs[name] += time.perf_counter() - start


@contextmanager
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
