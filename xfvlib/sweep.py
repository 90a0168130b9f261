"""Explain and score many pairs, on all cores of this machine or on a Dask cluster, so that an interruption loses little.

The pairs are cut into blocks, tiles of the pair matrix: a few probes by a few references, so that a block needs few
images for its many pairs. In a block every image is read, embedded and differentiated once, and one image's channel
gradients are in memory at a time: memory does not grow with the number of pairs. Gradients that several blocks need are
computed once by a task of their own and kept as files, ``out/gradients``, up to a byte budget; beyond it each block computes
them again. A block's Parquet file, renamed into place when it is whole, is the only record that the block is done; what a
restarted sweep computes is the blocks without one. Scheduling, and replacing workers that die, is left to Dask.
"""

import hashlib
import json
import logging
import pickle
import platform
import shutil
import threading
import time
import warnings
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xfvlib.deletion import SCHEMA, as_frame, deletion_rows, methods_of, settings_of, sides_wanted
from xfvlib.files import write_whole
from xfvlib.gradients import ChannelGradients, channel_gradients, check_differentiable
from xfvlib.methods import GRADIENT_METHODS, METHODS, both_maps, decision_threshold
from xfvlib.methods.fggb import fggb_from_kept
from xfvlib.pairs import Pair

PACKAGES = ("xfvlib", "torch", "numpy", "scipy", "captum", "pandas", "pyarrow", "dask")
ADVICE = "or choose another folder as out=…"
# Dask's own setting of MALLOC_TRIM_THRESHOLD_ makes glibc hand every tensor back to the system: torch then takes twice the time
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**30}
ONE_AT_A_TIME = threading.Lock()  # a worker of several threads shares one model, and some methods put hooks into it


def sweep(model, pairs, methods=("fggb",), metrics=("deletion", "insertion"), *, out, client=None, threshold=None, controls=True,
          seed=0, maps=None, workers=None, block=64, keep_bytes=4e9, progress=False):  # fmt: skip
    """Explain every pair by every method and score the maps: the table of :func:`xfvlib.deletion.deletion_table`, computed in parallel.

    Called again with the same folder after whatever interruption, it computes only what is missing. In a script, call it under
    ``if __name__ == "__main__":``, since worker processes import the script.

    Args:
        model: a FaceModel.
        pairs: a PairSet in the model's size.
        methods, metrics, threshold, controls, seed: as for :func:`xfvlib.deletion.deletion_table`.
        out: folder of the results, one run at a time; on a cluster, one that all workers reach by this path.
        client: None for processes on this machine, one torch thread each; or a ``dask.distributed.Client``, or the address of
            a scheduler. The table is the same. Workers of one thread are best: within a process, blocks take turns. On Linux
            start them with ``MALLOC_TRIM_THRESHOLD_`` and ``MALLOC_MMAP_THRESHOLD_`` at 1073741824; Dask's default doubles the time.
        maps: "zarr" to keep the signed maps too, see :func:`read_maps`; needs the package zarr.
        workers: number of processes when ``client`` is None; None for one a core.
        block: pairs in a block: what an interruption loses, and what a progress bar counts in.
        keep_bytes: of channel gradients kept in ``out`` while the sweep runs.
        progress: show blocks done, pairs a second and the time left.

    Returns:
        The table of all blocks. Pairs with an image that cannot be read have one row, with ``error``.

    Raises:
        ValueError: unknown method, metric or option; no pairs; or a folder begun with other settings, which are named.
        TypeError: a gradient method for a model without gradients, or a model that cannot be sent to other processes.
        ImportError: ``maps="zarr"`` without the package.
        RuntimeError: some blocks failed; the others are kept.

    Example:
        >>> table = xfv.sweep(model, pairs, ["fggb"], ["deletion"], out="sweep")  # doctest: +SKIP
        >>> xfv.sweep(model, pairs, ["fggb"], ["deletion"], out="sweep", client="tcp://10.0.0.1:8786")  # doctest: +SKIP
    """
    out = Path(out).resolve()
    named, settings, threshold = methods_of(methods), settings_of(metrics), decision_threshold(model, threshold)
    if not len(pairs) or block < 1:
        raise ValueError(f"{len(pairs)} pairs in blocks of {block}: at least one of each is needed")
    if any(name in GRADIENT_METHODS for name, _ in named.values()):
        check_differentiable(model)
    if maps not in (None, "zarr"):
        raise ValueError(f"maps is {maps!r}; it must be 'zarr' or None")
    if maps:
        zarr_module()
    tiled = tiles(pairs.table, block)
    job = {"model": model, "pairs": pairs, "settings": settings, "threshold": threshold, "controls": controls, "seed": seed,
           "methods": {label: (name, METHODS[name], options) for label, (name, options) in named.items()},
           "maps": maps, "out": out, "tiles": tiled}  # fmt: skip
    content = pickled(job)
    check_manifest(out, {
        "model": model.name, "model hash": model_hash(model), "data": pairs.name, "pairs": len(pairs), "data hash": data_hash(pairs),
        "methods": {label: {"method": name, **options} for label, (name, options) in named.items()}, "metrics": settings,
        "threshold": threshold, "controls": controls, "seed": seed, "block": block, "maps": maps,
    })  # fmt: skip
    clear_leftovers(out)
    if maps:
        create_maps(job)
    missing = [number for number in range(len(tiled)) if not is_whole(block_path(out, number))]
    if missing:
        job_path = out / f"job-{hashlib.sha256(content).hexdigest()[:16]}.pickle"
        write_whole(job_path, lambda temporary: temporary.write_bytes(content), ADVICE)
        try:
            with connected(client, workers, len(missing)) as connection:
                compute(connection, job, job_path, missing, keep_bytes, progress)
        finally:
            job_path.unlink(missing_ok=True)
    shutil.rmtree(out / "gradients", ignore_errors=True)
    return read_sweep(out)


def read_sweep(out):
    """The table of a sweep's blocks, as many as there are, in the order of the pairs. FileNotFoundError where there is none."""
    paths = block_paths(out)
    content = pa.concat_tables(pq.read_table(path).replace_schema_metadata() for path in paths)
    return as_frame(content).sort_values("pair", kind="stable", ignore_index=True)


def read_costs(out):
    """What the blocks of a sweep took, one row each: ``block, pairs, images, gradients`` (images differentiated) and, in seconds,
    ``reading``, ``embedding``, ``differentiating``, ``scoring``, each method by its label, and ``total``."""
    costs = [json.loads(pq.read_schema(path).metadata[b"costs"]) for path in block_paths(out)]
    return pd.DataFrame(costs).fillna(0.0)


def read_maps(out, method, numbers):
    """Kept maps of one method: float32 ``(n, 2, H, W)``, signed, probe and reference, for pairs by their numbers; NaN for an unreadable pair.

    They were rounded to float16 after division by the largest absolute value of each: 3 digits.
    """
    group = zarr_module().open_group(Path(out) / "maps.zarr", mode="r")
    places = group["place"][:][np.asarray(numbers)]
    return group[method].oindex[places].astype(np.float32) * group[f"{method} scale"].oindex[places][:, :, None, None]


def tiles(table, block):
    """Pair numbers in blocks of ``block``, in the order of small squares of the pair matrix, so that a block's pairs share images."""
    names = pd.unique(table[["name_a", "name_b"]].to_numpy().ravel())
    place = {name: i for i, name in enumerate(sorted(names))}
    a, b = (table[column].map(place).to_numpy() for column in ("name_a", "name_b"))
    side = max(1, round(block**0.5))
    order = np.lexsort((b, a, b // side, a // side))
    return [order[start : start + block] for start in range(0, len(order), block)]


def model_hash(model):
    """SHA-256 of layers, weights and preprocessing."""
    found = hashlib.sha256(f"{model.network} {model.size} {model.channels}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def data_hash(pairs):
    """SHA-256 of the list of pairs and of every image: of its file where it comes from one, which is not decoded for that."""
    found = hashlib.sha256(pairs.table.to_csv(index=False).encode())
    found.update(repr(getattr(pairs.images, "want", None)).encode())
    sources = getattr(pairs.images, "sources", pairs.images)
    for name in pairs.names:
        source = sources.get(name, b"")
        if isinstance(source, torch.Tensor):
            source = source.contiguous().numpy().tobytes()
        elif not isinstance(source, bytes):
            source = Path(source).read_bytes() if Path(source).is_file() else b""
        found.update(source)
    return found.hexdigest()


def check_manifest(out, wanted):
    """Write the manifest of a new folder; ValueError where the folder was begun with other settings, a warning for other packages."""
    as_json = partial(json.dumps, ensure_ascii=False)
    wanted = json.loads(as_json(wanted))
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from its folder without installation
            versions[name] = "not installed"
    path, begun = out / "manifest.json", [versions]
    if path.exists():
        there = json.loads(path.read_text(encoding="utf8"))
        if different := [key for key in wanted if there.get(key) != wanted[key]]:
            listed = "; ".join(f"{key}: {as_json(there.get(key))} there, {as_json(wanted[key])} now" for key in different)
            raise ValueError(f"{out} was begun with other settings ({listed}). Use the same, or another folder as out=…")
        if versions in there["versions"]:
            return
        last, begun = there["versions"][-1], [*there["versions"], versions]
        changed = [f"{name} {last.get(name)} → {version}" for name, version in versions.items() if last.get(name) != version]
        warnings.warn(f"{out} was begun with other packages ({', '.join(changed)}); the manifest lists both", stacklevel=3)
    text = as_json(wanted | {"versions": begun}, indent=1)
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf8"), ADVICE)


def pickled(job):
    """The job as bytes for other processes; TypeError in words where the model cannot be sent."""
    import cloudpickle

    try:
        return cloudpickle.dumps(job)
    except Exception as error:  # a module may raise anything when it is pickled
        raise TypeError(
            f"{job['model'].name} and its pairs cannot be sent to other processes ({error}): give the network a __reduce__ "
            "that makes it anew from its file, as xfvlib.models.onnx.OnnxNetwork has"
        ) from error


@lru_cache(1)
def loaded(job_path):
    """The job, read once a process."""
    return pickle.loads(Path(job_path).read_bytes())


@contextmanager
def connected(client=None, workers=None, most=None):
    """The caller's client; one to the address given; or one to new processes of one thread each on this machine, not more than ``most``."""
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    if isinstance(client, str):
        with Client(client) as found:
            yield found
    elif client is not None:
        yield client
    else:
        # Dask starts them by spawn, since a forked process may not use torch's threads
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}),
            LocalCluster(n_workers=min(count for count in (workers or CPU_COUNT, most) if count), threads_per_worker=1, dashboard_address=":0",
                         silence_logs=logging.ERROR) as cluster,
            Client(cluster) as found,
        ):  # fmt: skip
            yield found


def compute(client, job, job_path, missing, keep_bytes, progress):
    """Have the missing blocks computed, and wait for all of them; RuntimeError when some failed."""
    from distributed import as_completed
    from tqdm.auto import tqdm

    futures, failed = submitted(client, job, job_path, missing, keep_bytes), {}
    with tqdm(total=sum(len(job["tiles"][number]) for number in missing), unit=" pairs", disable=not progress) as bar:
        for count, future in enumerate(as_completed(futures), 1):
            number = futures[future]
            if future.exception() is not None:
                failed[number] = future.exception()
            bar.update(len(job["tiles"][number]))
            bar.set_postfix_str(f"{count} of {len(missing)} blocks" + f", {len(failed)} failed" * bool(failed))
    for number, error in failed.items():
        raise RuntimeError(
            f"{len(failed)} of {len(missing)} blocks failed; calling again computes only those, the others are kept in {job['out']}. "
            f"Block {number}: {type(error).__name__}: {error}"
        ) from error


def submitted(client, job, job_path, missing, keep_bytes):
    """Hand all tasks to Dask, block by block with the gradients that it is the first to need: ``{future: number of the block}``."""
    needed = {number: gradients_needed(job, job["tiles"][number]) for number in missing}
    counts = Counter(key for keys in needed.values() for key in keys)
    room = int(keep_bytes // (4 * job["model"].dim * np.prod(job["model"].size)))
    kept = {key for key, count in counts.most_common(room) if count > 1}
    started, futures = {}, {}
    for number, keys in needed.items():
        submit = partial(client.submit, pure=False, priority=-number)  # early blocks are whole before late gradients are begun
        first = {key: submit(keep_gradients, job_path, *key) for key in keys if key in kept and key not in started}
        before = [started[key] for key in keys if key in started]
        futures[submit(run_block, job_path, number, list(first.values()), before)] = number
        started |= first
    return futures


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


def block_path(out, number):
    return out / "blocks" / f"{number:06d}.parquet"


def block_paths(out):
    paths = sorted((Path(out) / "blocks").glob("[0-9]*.parquet"))
    if not paths:
        raise FileNotFoundError(f"{out} holds no block of a sweep; see xfv.sweep(…, out=…)")
    return paths


def is_whole(path):
    """True for a Parquet file with its end, which is written last."""
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid):
        return False
    return True


def clear_leftovers(out):
    """Remove what a run that was killed could not: jobs, and files under their temporary names."""
    for path in (*out.glob("job-*.pickle"), *out.glob("**/.[0-9]*-*")):
        path.unlink(missing_ok=True)


def zarr_module():
    try:
        import zarr
    except ImportError as error:
        raise ImportError('maps="zarr" needs the package zarr: pip install zarr, or leave maps out') from error
    return zarr


def create_maps(job):
    """Empty arrays for the maps, in the order of the blocks: one chunk is one block's, so that no two workers write the same file."""
    group = zarr_module().open_group(job["out"] / "maps.zarr", mode="a")
    order, block = np.concatenate(job["tiles"]), len(job["tiles"][0])
    if "place" not in group:
        group.create_array("place", shape=order.shape, dtype=order.dtype)
    group["place"][:] = np.argsort(order)  # each time: a run that was killed may have left it empty
    for label in job["methods"]:
        shape = (len(order), 2, *job["model"].size)
        if label not in group:
            group.create_array(label, shape=shape, chunks=(block, *shape[1:]), dtype="float16", fill_value=np.nan)
        if f"{label} scale" not in group:
            group.create_array(f"{label} scale", shape=shape[:2], chunks=(block, 2), dtype="float32", fill_value=np.nan)


def write_maps(job, number, maps):
    """Write the maps of one block, each divided by its largest absolute value, which float16 could not hold beside the small ones."""
    group, numbers = zarr_module().open_group(job["out"] / "maps.zarr", mode="r+"), job["tiles"][number]
    start = number * len(job["tiles"][0])
    for label in job["methods"]:
        stacked = np.full((len(numbers), 2, *job["model"].size), np.nan, np.float32)
        for i, n in enumerate(numbers):
            if n in maps:
                stacked[i] = torch.stack(maps[n][label]).numpy()
        scale = np.abs(stacked).max(axis=(2, 3))
        scale[scale == 0] = 1
        group[label][start : start + len(numbers)] = (stacked / scale[:, :, None, None]).astype(np.float16)
        group[f"{label} scale"][start : start + len(numbers)] = scale


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
