"""What lies in a sweep's folder: manifest, blocks, maps and, while it runs, a scratch folder with the job.

Files appear whole or not at all. Nothing is deleted but the scratch folder, whose name no other job has.
"""

import hashlib
import json
import platform
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock, Timeout

from xfvlib.extras import extra, reworded
from xfvlib.faithfulness.stand_ins import StandIns
from xfvlib.faithfulness.table import SCHEMA, as_frame
from xfvlib.files import read_bytes, write_whole
from xfvlib.models import FaceModel
from xfvlib.pairs import PairSet

_ADVICE = "choose another folder as out=…"
_PACKAGES = ("xfvlib", "torch", "numpy", "scipy", "captum", "pandas", "pyarrow", "dask", "python")


@dataclass
class Job:
    """What every worker of a sweep must know.

    Attributes:
        model, pairs, keep_bytes, out: as for :func:`xfvlib.sweep`.
        scratch: the folder for what is only of use while the job runs.
        methods: ``{kind: {label: (method, options)}}``; methods of one kind share the preparation of an image, and
            those of kind "" have none. They travel with the job, since workers may not know them.
        settings: what the manifest says. Their hash, ``name``, goes into each block's: no other's is taken for ours.
        tiles: numbers of the pairs in each block.
        shared: images whose preparations are kept, since several blocks need them.
        plan: who stands in for whom, where maps of other partners or people are asked for.
    """

    model: FaceModel
    pairs: PairSet
    methods: dict[str, dict[str, tuple]]
    settings: dict
    tiles: list[np.ndarray]
    shared: set[str]
    keep_bytes: float
    out: Path
    plan: StandIns | None = None

    def __post_init__(self):
        self.name = _name(self.settings)
        self.scratch = self.out / f"scratch-{self.name[:16]}"

    def put(self, path: Path, data: bytes) -> None:
        """Write a file in the scratch folder and rename it: a reader never sees half a file."""
        path.parent.mkdir(exist_ok=True)
        write_whole(self.scratch / path.stem, lambda temporary: temporary.write_bytes(data), f"or {_ADVICE}")
        (self.scratch / path.stem).replace(path)


def _name(settings):
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def read_sweep(out: str | Path) -> pd.DataFrame:
    """The table of a sweep's blocks, as many as there are, in the order of the pairs.

    Raises:
        FileNotFoundError: there is no sweep.
        ValueError: the manifest or a block, which is named, is damaged, or the block is another sweep's.
    """
    return as_frame(pa.concat_tables(table for table, _ in _blocks(out)).sort_by("pair"))


def read_costs(out: str | Path) -> pd.DataFrame:
    """What the blocks of a sweep took, one row each: ``block, pairs, images, preparations`` (images prepared) and, in
    seconds, ``reading``, ``embedding``, ``preparing``, ``scoring``, each method by its label, and ``total``.

    Raises: as :func:`read_sweep`.
    """
    return pd.DataFrame([costs for _, costs in _blocks(out)]).fillna(0.0)


def _blocks(out):
    settings, _ = _read_manifest(Path(out))
    paths = [block_path(Path(out), number) for number in range(-(-settings["pairs"] // settings["block"]))]
    found = {path: read_block(path, _name(settings)) for path in paths if path.exists()}
    if not found:
        raise FileNotFoundError(f"{out} holds no block of a sweep yet; see xfv.sweep(…, out=…)")
    if lost := [path for path, block in found.items() if block is None]:
        raise ValueError(f"block {lost[0]} is damaged, or another sweep's: call xfv.sweep again, which makes it anew")
    return list(found.values())


def block_path(out: Path, number: int) -> Path:
    """File of a block. That it is there and whole is the record that the block is done."""
    return out / "blocks" / f"{number:06d}.parquet"


def read_block(path: Path, job: str) -> tuple[pa.Table, dict] | None:
    """Rows and costs of a block of the job with that name; None where it is missing, not whole, or another's."""
    with suppress(Exception):  # a changed bit can make anything of a file
        content = pq.read_table(path, page_checksum_verification=True)
        given, content = content.schema.metadata, content.replace_schema_metadata()
        costs = json.loads(given[b"costs"])
        if given[b"hash"].decode() == _block_hash(content, costs, job) and costs["block"] == int(path.stem):
            return content, costs
    return None


def write_block(job: Job, number: int, rows: list[dict], costs: dict) -> None:
    """Write the rows and costs of a block."""
    content, sink = pa.Table.from_pylist(rows, schema=SCHEMA), pa.BufferOutputStream()
    given = {"costs": json.dumps(costs), "hash": _block_hash(content, costs, job.name)}
    pq.write_table(content.replace_schema_metadata(given), sink, compression="zstd", write_page_checksum=True)
    job.put(block_path(job.out, number), sink.getvalue())


def _block_hash(content, costs, job):
    return hashlib.sha256(json.dumps([content.to_pydict(), costs, job]).encode()).hexdigest()


def model_hash(model: FaceModel) -> str:
    """SHA-256 of layers, weights and preprocessing."""
    found = hashlib.sha256(f"{model.network} {model.size} {model.channels}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        about = f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        found.update(about.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def data_hash(pairs: PairSet) -> str:
    """SHA-256 of the list of pairs and of every image: of its file, not decoded, where it comes from one."""
    sources, want = getattr(pairs.images, "sources", pairs.images), getattr(pairs.images, "want", None)
    found = hashlib.sha256(f"{pairs.table.to_csv(index=False)}{want!r}".encode())
    for source in (sources[name] for name in pairs.names if name in sources):
        if isinstance(source, torch.Tensor):
            found.update(source.contiguous().numpy().tobytes())
        elif isinstance(source, bytes) or Path(source).is_file():
            found.update(source if isinstance(source, bytes) else Path(source).read_bytes())
    return found.hexdigest()


@contextmanager
def opened(job: Job) -> Iterator[None]:
    """The job's folder, for this run alone. The scratch folder goes when the run ends well.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: it holds other things than this job.
        RuntimeError: another run is in it.
    """
    manifest = job.out / "manifest.json"
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        others = {path.name for path in job.out.iterdir()} - {".lock", job.scratch.name}
        if others and manifest.name not in others:
            raise ValueError(f"{job.out} holds {min(others)!r} but no sweep: empty it yourself, or {_ADVICE}")
        lock = FileLock(job.out / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise RuntimeError(f"another sweep is running in {job.out}: wait for its end, or {_ADVICE}") from error
    except OSError as error:
        raise OSError(f"{job.out} is no folder that can be written to ({error.strerror}): {_ADVICE}") from error
    with lock:
        settings, begun = _read_manifest(job.out) if manifest.exists() else (job.settings, [])
        if changes := _changes(settings, job.settings):
            raise ValueError(f"{job.out} was begun with other settings ({changes}): use the same, or {_ADVICE}")
        installed = {x.name: x.version for x in metadata.distributions()} | {"python": platform.python_version()}
        if (versions := {name: installed.get(name, "not installed") for name in _PACKAGES}) not in begun:
            if begun:
                changes = f"{_changes(begun[-1], versions)}; the manifest lists both"
                warnings.warn(f"{job.out} was begun with other packages: {changes}", stacklevel=4)
            content = json.dumps(job.settings | {"versions": [*begun, versions]}, ensure_ascii=False, indent=1)
            job.put(manifest, content.encode())
        yield
        shutil.rmtree(job.scratch, ignore_errors=True)


def _read_manifest(out):
    """``(settings, versions)`` of a sweep's folder."""
    path = out / "manifest.json"
    content = read_bytes(path, 100_000_000, "manifest of a sweep")
    with reworded(Exception, ValueError, f"{path} is damaged, or no sweep's manifest: {_ADVICE}"):
        there = json.loads(content)
        versions = there.pop("versions")
        if versions[-1]["python"] and there["model hash"] and min(there["pairs"], there["block"]) > 0:
            return there, versions
        raise KeyError("pairs")


def _changes(there, now):
    return "; ".join(f"{key}: {there.get(key)!r} there, {now[key]!r} now" for key in now if there.get(key) != now[key])


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
    group.create_array("place", data=np.argsort(order), overwrite=True)
    for label in job.settings["methods"]:
        for name, size, dtype in ((label, job.model.size, "float16"), (f"{label} scale", (), "float32")):
            shape, chunks = ((count, 2, *size) for count in (len(order), block))
            group.require_array(name, shape=shape, chunks=chunks, dtype=dtype, fill_value=np.nan)


def write_maps(job: Job, number: int, maps: dict) -> None:
    """Write the maps of one block, each divided by its largest absolute value, which float16 could not hold beside the
    small ones."""
    group, start = zarr_module().open_group(job.out / "maps.zarr", mode="r+"), number * len(job.tiles[0])
    missing = [torch.full(job.model.size, torch.nan)] * 2
    for label in job.settings["methods"]:
        found = torch.stack([torch.stack(maps[n][label] if n in maps else missing) for n in job.tiles[number]])
        scale = found.abs().amax(dim=(2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        group[label][start : start + len(found)] = (found / scale).half().numpy()
        group[f"{label} scale"][start : start + len(found)] = scale[:, :, 0, 0].numpy()


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
