"""The maps of a sweep, kept as Zarr arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfvlib.extras import extra
from xfvlib.sweep.folder import Job


def zarr_module() -> Any:
    """The package zarr; ImportError in words where it is not installed."""
    with extra("sweep"):
        import zarr
    return zarr


def create_maps(job: Job) -> None:
    """Empty arrays for the maps, in the order of the blocks: a chunk is a block's, so that no two workers write one
    file."""
    group = zarr_module().open_group(job.out / "maps.zarr", mode="a")
    order, block = np.concatenate(job.tiles), len(job.tiles[0])
    if "place" not in group:
        group.create_array("place", shape=order.shape, dtype=order.dtype)
    group["place"][:] = np.argsort(order)  # each time: a run that was killed may have left it empty
    for label in job.settings["methods"]:
        for name, size, dtype in ((label, job.model.size, "float16"), (f"{label} scale", (), "float32")):
            if name not in group:
                shape, chunks = ((count, 2, *size) for count in (len(order), block))
                group.create_array(name, shape=shape, chunks=chunks, dtype=dtype, fill_value=np.nan)


def write_maps(job: Job, number: int, maps: dict) -> None:
    """Write the maps of one block, each divided by its largest absolute value, which float16 could not hold beside the
    small ones."""
    group, start = zarr_module().open_group(job.out / "maps.zarr", mode="r+"), number * len(job.tiles[0])
    missing = torch.full((2, *job.model.size), torch.nan)
    for label in job.settings["methods"]:
        found = [torch.stack(maps[n][label]) if n in maps else missing for n in job.tiles[number]]
        stacked = torch.stack(found).numpy()
        scale = np.abs(stacked).max(axis=(2, 3))
        scale[scale == 0] = 1
        group[label][start : start + len(found)] = (stacked / scale[:, :, None, None]).astype(np.float16)
        group[f"{label} scale"][start : start + len(found)] = scale


def read_maps(out: str | Path, method: str, numbers: Sequence[int]) -> np.ndarray:
    """Kept maps of one method: float32 ``(n, 2, H, W)``, signed, probe and reference, for pairs by their numbers; NaN
    for an unreadable pair.

    They were rounded to float16 after division by the largest absolute value of each: 3 digits.

    Raises FileNotFoundError where no maps were kept.
    """
    if not (Path(out) / "maps.zarr").exists():
        raise FileNotFoundError(f"{out} holds no maps of a sweep; see xfv.sweep(…, maps='zarr')")
    group = zarr_module().open_group(Path(out) / "maps.zarr", mode="r")
    places = group["place"][:][np.asarray(numbers)]
    return group[method].oindex[places].astype(np.float32) * group[f"{method} scale"].oindex[places][:, :, None, None]
