"""What lies in a sweep's folder: manifest, blocks, maps and, while it runs, a scratch folder with the job.

Files appear whole or not at all. Nothing is deleted but the scratch folder, whose name no other job has.
"""

import hashlib
import json
import platform
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock, Timeout

from xfvlib.faithfulness.table import SCHEMA, as_frame
from xfvlib.files import write_whole
from xfvlib.methods import Method
from xfvlib.models import FaceModel
from xfvlib.pairs import PairSet

_ADVICE = "choose another folder as out=…"
_PACKAGES = ("xfvlib", "torch", "numpy", "scipy", "captum", "pandas", "pyarrow", "dask")


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep must know.

    Attributes:
        model, pairs, keep_bytes, out: as for :func:`xfvlib.sweep`.
        methods: ``{kind: {label: (method, options)}}``; methods of one kind share the preparation of an image, and
            those of kind "" have none. They travel with the job, since workers may not know them.
        settings: what the manifest says. Their hash, ``name``, goes into each block's: no other's is taken for ours.
        tiles: numbers of the pairs in each block.
        shared: images whose preparations are kept, since several blocks need them.
    """

    model: FaceModel
    pairs: PairSet
    methods: dict[str, dict[str, tuple[Method, dict]]]
    settings: dict
    tiles: list[np.ndarray]
    shared: set[str]
    keep_bytes: float
    out: Path

    @cached_property
    def name(self) -> str:
        return _name(self.settings)

    @property
    def scratch(self) -> Path:
        """The folder for what is only of use while the job runs."""
        return self.out / f"scratch-{self.name[:16]}"

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
    content = pa.concat_tables(table for table, _ in _blocks(out))
    return as_frame(content).sort_values("pair", kind="stable", ignore_index=True)


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
    try:
        content = pq.read_table(path, page_checksum_verification=True)
        given, content = content.schema.metadata, content.replace_schema_metadata()
        costs = json.loads(given[b"costs"])
        whole = given[b"hash"].decode() == _block_hash(content, costs, job) and costs["block"] == int(path.stem)
    except Exception:  # a changed bit can make anything of a file
        whole = False
    return (content, costs) if whole else None


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
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def data_hash(pairs: PairSet) -> str:
    """SHA-256 of the list of pairs and of every image: of its file, not decoded, where it comes from one."""
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


@contextmanager
def opened(job: Job) -> Iterator[None]:
    """The job's folder, for this run alone. The scratch folder goes when the run ends well.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: it holds other things than this job.
        RuntimeError: another run is in it.
    """
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        others = {path.name for path in job.out.iterdir()} - {".lock", job.scratch.name}
        if others and "manifest.json" not in others:
            raise ValueError(f"{job.out} holds {min(others)!r} but no sweep: empty it yourself, or {_ADVICE}")
        lock = FileLock(job.out / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise RuntimeError(f"another sweep is running in {job.out}: wait for its end, or {_ADVICE}") from error
    except OSError as error:
        raise OSError(f"{job.out} is no folder that can be written to ({error.strerror}): {_ADVICE}") from error
    with lock:
        _check_manifest(job)
        yield
        shutil.rmtree(job.scratch, ignore_errors=True)


def _read_manifest(out):
    """``(settings, versions)`` of a sweep's folder."""
    path = out / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{out} holds no block of a sweep and no manifest; see xfv.sweep(…, out=…)")
    try:
        there = json.loads(path.read_bytes())
        versions = there.pop("versions")
        if not (versions[-1]["python"] and there["model hash"] and min(there["pairs"], there["block"]) > 0):
            raise KeyError
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no sweep's manifest: {_ADVICE}") from error
    return there, versions


def _check_manifest(job):
    """Write the manifest of a new folder. Other settings than it was begun with are
    refused, other packages warned of."""
    there = {package.name: package.version for package in metadata.distributions()}
    versions = {name: there.get(name, "not installed") for name in _PACKAGES} | {"python": platform.python_version()}
    begun = []
    if (job.out / "manifest.json").exists():
        there, begun = _read_manifest(job.out)
        if different := [key for key in job.settings if there.get(key) != job.settings[key]]:
            changes = [f"{key}: {there.get(key)!r} there, {job.settings[key]!r} now" for key in different]
            text = "; ".join(changes)
            raise ValueError(f"{job.out} was begun with other settings ({text}): use the same, or {_ADVICE}")
        if versions not in begun:
            changes = [f"{x} {begun[-1].get(x)} → {versions[x]}" for x in versions if begun[-1].get(x) != versions[x]]
            text = ", ".join(changes)
            warnings.warn(f"{job.out} was begun with other packages ({text}); the manifest lists both", stacklevel=5)
    job.scratch.mkdir(exist_ok=True)
    if versions not in begun:
        text = json.dumps(job.settings | {"versions": [*begun, versions]}, ensure_ascii=False, indent=1)
        job.put(job.out / "manifest.json", text.encode())
