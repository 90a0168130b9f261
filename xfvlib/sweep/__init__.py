"""Explain and score many pairs, on all cores of this machine or on a Dask cluster; an interruption loses little.

The pairs are cut into blocks, tiles of the pair matrix: a few probes by a few references, so that a block needs few
images for its many pairs. In a block every image is read, embedded and, for a method of two stages, prepared once.
Preparations that several blocks need are computed by the first one and kept as files in a scratch folder, up to a byte
budget; beyond it each block computes them again. A block's Parquet file, renamed into place when it is whole, is the
only record that the block is done; what a restarted sweep computes is the blocks without one. Where pairs are scored
with maps of other people, all blocks' maps are computed and kept in the scratch folder before the first is scored.
Scheduling, and replacing workers that die, is left to Dask.
"""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cloudpickle
import numpy as np
import pandas as pd

from xfvlib.evaluation import check_set
from xfvlib.extras import extra, reworded
from xfvlib.faithfulness.table import Methods, Metrics, maps_wanted, methods_of, plan_of, settings_of
from xfvlib.methods import method_called
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import PairSet
from xfvlib.perturb import check_options
from xfvlib.sweep import folder
from xfvlib.sweep.folder import data_hash, model_hash, read_costs, read_maps, read_sweep
from xfvlib.sweep.tasks import borrows, explain_block, one_torch_thread, run_block

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connected", "data_hash", "model_hash", "one_torch_thread", "read_costs", "read_maps", "read_sweep", "sweep"]

# with Dask's own MALLOC_TRIM_THRESHOLD_, glibc hands every tensor back to the system: torch then takes twice the time
_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**30}
_PATIENCE = 20  # seconds until a scheduler must have answered


def sweep(
    model: FaceModel,
    pairs: PairSet,
    methods: Methods = ("fggb",),
    metrics: Metrics = ("deletion", "insertion"),
    *,
    out: str | Path,
    client: "Client | str | None" = None,
    threshold: float | None = None,
    controls: bool = True,
    seed: int = 0,
    maps: Literal["zarr", None] = None,
    workers: int | None = None,
    block: int = 64,
    keep_bytes: float = 4e9,
    progress: bool = False,
) -> pd.DataFrame:
    """Explain every pair by every method and score the maps: the table of :func:`xfvlib.faithfulness.deletion_table`,
    computed in parallel.

    Called again with the same folder after whatever interruption, it computes only what is missing or damaged. In a
    script, call it under ``if __name__ == "__main__":``, since worker processes import the script.

    Args:
        model: a FaceModel, on any device.
        pairs: a PairSet in the model's size.
        methods, metrics, threshold, controls, seed: as for :func:`xfvlib.faithfulness.deletion_table`.
        out: folder of the results, new, empty or begun by the same sweep, for one run at a time; on a cluster, one that
            all workers reach by this path. Nothing in it is deleted but what the sweep itself needs no longer.
        client: None for processes on this machine, one torch thread each; or a ``dask.distributed.Client``, or the
            address of a scheduler; the sweep waits until it has a worker. The table is the same. On Linux start workers
            with ``MALLOC_TRIM_THRESHOLD_`` and ``MALLOC_MMAP_THRESHOLD_`` at 1073741824; Dask's default doubles the
            time.
        maps: "zarr" to keep the signed maps too, see :func:`read_maps`; needs the package zarr.
        workers: number of processes when ``client`` is None; None for one a core, or for one if the model is on a GPU.
        block: pairs in a block: what an interruption loses, and what a progress bar counts in.
        keep_bytes: of preparations (of the methods' first stages) kept in ``out`` while the sweep runs; 0 for none.
        progress: show blocks done, how many a second, and the time left.

    Returns:
        The table of all blocks. Pairs with an image that cannot be read have one row, with ``error``.

    Raises:
        ValueError: unknown method, metric or option; no pairs; a number out of range; a folder that holds other things,
            or was begun with other settings, which are named.
        TypeError: a gradient method for a model without gradients, a model that cannot be sent to other processes, or
            an argument of another type.
        OSError: the folder cannot be made or written to; no scheduler answers.
        ImportError: the packages of the extra "sweep" are not installed.
        RuntimeError: some blocks failed, the others are kept; or another sweep is running in the folder.

    Example:
        >>> table = xfv.sweep(model, pairs, ["fggb"], ["deletion"], out="sweep")  # doctest: +SKIP
        >>> xfv.sweep(model, pairs, ["fggb"], ["deletion"], out="sweep", client="tcp://10.0.0.1:8786")  # doctest: +SKIP
    """
    from tqdm.auto import tqdm

    check_options(sweep, locals())
    check_set(pairs)
    if not (client is None or isinstance(client, str) or hasattr(client, "scheduler_info")):
        raise TypeError(f"client is {client!r}; None, a dask.distributed.Client or a scheduler's address is needed")
    if maps:
        folder.zarr_module()
    kinds: dict[str, dict] = defaultdict(dict)
    given, threshold = {}, decision_threshold(model, threshold)
    for label, (name, options) in methods_of(methods).items():
        method, given[label] = method_called(name, model), {"method": name, **options}
        kind = json.dumps([name, method.of_prepare(options)], default=str) if method.prepare else ""
        kinds[kind][label] = method, options
    scored = settings_of(metrics)
    about: dict[str, Any] = {"methods": given, "metrics": scored, "threshold": threshold, "controls": bool(controls)}
    about |= {"model": model.name, "model hash": model_hash(model), "data": pairs.name, "data hash": data_hash(pairs)}
    about |= {"pairs": len(pairs), "seed": int(seed), "block": int(block), "maps": maps}
    plan, tiles = None, _tiles(pairs.table, block)
    if maps_wanted(scored) - {"own"}:
        named = [*pairs.table[["name_a", "name_b", "same"]].itertuples(index=False, name=None)]
        with one_torch_thread():
            plan = plan_of(model, named, pairs.images, threshold, seed)
        about["stand-ins"] = hashlib.sha256(str(plan.partners).encode()).hexdigest()
    about = json.loads(json.dumps(about, default=str))  # as the manifest will have it
    needed = [{*pairs[tile].names} | (plan.names(tile) if plan else set()) for tile in tiles]
    counts = Counter(image for images in needed for image in images)
    shared = {image for image, count in counts.items() if count > 1 and keep_bytes}
    job = folder.Job(model, pairs, dict(kinds), about, tiles, shared, keep_bytes, Path(out).absolute(), plan)
    advice = "give its network a __reduce__ that makes it anew from its file, as xfvlib.models.onnx.OnnxNetwork has"
    with reworded(Exception, TypeError, f"{model.name} cannot be sent to other processes: {advice}"):
        content = cloudpickle.dumps(job)
    with folder.opened(job):
        if maps:
            folder.create_maps(job)
        if missing := [n for n in range(len(tiles)) if not folder.read_block(folder.block_path(job.out, n), job.name)]:
            # a file and its hash, not a value that workers fetch from each other, which was seen to hang
            path, digest = job.scratch / "job.bin", hashlib.sha256(content).hexdigest()
            job.put(path, content)
            # maps that pairs of other blocks are scored with must all be there before the first of those
            stages = [(explain_block, [*range(len(tiles))])] if borrows(job) else []
            with connected(client, workers or (None if model.device.type == "cpu" else 1), len(tiles)) as connection:
                for stage, numbers in [*stages, (run_block, missing)]:
                    futures = connection.map(stage, numbers, path=path, digest=digest, pure=False)
                    bar = tqdm(futures, "blocks", unit=f" × {block} pairs", disable=not progress)
                    failed = [(number, error) for future, number in zip(bar, numbers) if (error := future.exception())]
                    for number, error in failed:
                        count = f"{len(failed)} of {len(numbers)} blocks failed; call again for those"
                        words = f"{count}, others are in {job.out}. Block {number}: {type(error).__name__}: {error}"
                        raise RuntimeError(words) from error
    return read_sweep(out)


def _tiles(table, block):
    """Pair numbers in blocks of ``block``, in the order of small squares of the pair matrix, so that a block's pairs
    share images."""
    places, _ = pd.factorize(table[["name_a", "name_b"]].to_numpy().ravel(), sort=True)
    (a, b), side = places.reshape(-1, 2).T, max(1, round(block**0.5))
    order = np.lexsort((b, a, b // side, a // side))
    return [order[start : start + block] for start in range(0, len(order), block)]


def connected(
    client: "Client | str | None" = None, workers: int | None = None, most: int | None = None
) -> "AbstractContextManager[Client]":
    """The caller's client; one to the address given; or one to new processes of one thread each on this machine, not
    more than ``most``.

    Raises:
        ConnectionError: no scheduler answers at the address.
    """
    with extra("sweep"):
        import dask
        from distributed import Client
    if client is not None and not isinstance(client, str):
        return nullcontext(client)
    count = min(given for given in (workers or dask.system.CPU_COUNT, most) if given)
    local = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.ERROR}
    # Dask starts them by spawn, since a forked process may not use torch's threads
    spawned = dask.config.set({"distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT})
    with spawned, reworded(Exception, ConnectionError, f"no Dask scheduler answers at {client!r}"):
        return Client(**local) if client is None else Client(client, timeout=_PATIENCE)
