"""Explain and score many pairs, on all cores of this machine or on a Dask cluster, so that an interruption loses little.

The pairs are cut into blocks, tiles of the pair matrix: a few probes by a few references, so that a block needs few
images for its many pairs. In a block every image is read, embedded and differentiated once, and one image's channel
gradients are in memory at a time: memory does not grow with the number of pairs. Gradients that several blocks need are
computed once by a task of their own and kept as files, ``out/gradients``, up to a byte budget; beyond it each block computes
them again. A block's Parquet file, renamed into place when it is whole, is the only record that the block is done; what a
restarted sweep computes is the blocks without one. Scheduling, and replacing workers that die, is left to Dask.
"""

import hashlib
import logging
import shutil
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from xfvlib.evaluation import decision_threshold
from xfvlib.faithfulness.table import methods_of, settings_of
from xfvlib.files import write_whole
from xfvlib.gradients import check_differentiable
from xfvlib.methods import GRADIENT_METHODS, METHODS
from xfvlib.sweep.folder import (
    ADVICE, block_path, check_manifest, clear_leftovers, create_maps, data_hash, is_whole, model_hash, read_costs, read_maps, read_sweep, zarr_module,
)  # fmt: skip
from xfvlib.sweep.tasks import gradients_needed, keep_gradients, one_torch_thread, run_block

# Dask's own setting of MALLOC_TRIM_THRESHOLD_ makes glibc hand every tensor back to the system: torch then takes twice the time
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**30}


def sweep(model, pairs, methods=("fggb",), metrics=("deletion", "insertion"), *, out, client=None, threshold=None, controls=True,
          seed=0, maps=None, workers=None, block=64, keep_bytes=4e9, progress=False):  # fmt: skip
    """Explain every pair by every method and score the maps: the table of :func:`xfvlib.faithfulness.deletion_table`, computed in parallel.

    Called again with the same folder after whatever interruption, it computes only what is missing. In a script, call it under
    ``if __name__ == "__main__":``, since worker processes import the script.

    Args:
        model: a FaceModel.
        pairs: a PairSet in the model's size.
        methods, metrics, threshold, controls, seed: as for :func:`xfvlib.faithfulness.deletion_table`.
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


def tiles(table, block):
    """Pair numbers in blocks of ``block``, in the order of small squares of the pair matrix, so that a block's pairs share images."""
    names = pd.unique(table[["name_a", "name_b"]].to_numpy().ravel())
    place = {name: i for i, name in enumerate(sorted(names))}
    a, b = (table[column].map(place).to_numpy() for column in ("name_a", "name_b"))
    side = max(1, round(block**0.5))
    order = np.lexsort((b, a, b // side, a // side))
    return [order[start : start + block] for start in range(0, len(order), block)]


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
