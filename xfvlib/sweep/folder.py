"""What a sweep keeps on disk: manifest, blocks, maps."""

import hashlib
import json
import platform
import warnings
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xfvlib.faithfulness import as_frame
from xfvlib.files import write_whole

PACKAGES = ("xfvlib", "torch", "numpy", "scipy", "captum", "pandas", "pyarrow", "dask")

ADVICE = "or choose another folder as out=…"


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
