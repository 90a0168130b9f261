import hashlib
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from distributed import Client
from PIL import Image
from torch import nn

import xfvlib as xfv
from xfvlib.faithfulness import MAPS, areas, deletion_table
from xfvlib.models.frozen import frozen
from xfvlib.pairs import Crops
from xfvlib.sweep import _tiles, connected, read_costs, read_maps
from xfvlib.sweep.folder import block_path, read_block

SMALL = {"xface": {"sizes": (17, 34), "stride": 11, "blur": 12}}
QUICK = {"threshold": 0.945, "block": 8}
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that workers need not find the tests
METRICS = [{"metric": "deletion", "steps": 4, "masked": "both"}, {"metric": "insertion", "steps": 4}]


def slow(model, image, reference, *, threshold):
    """A map that takes its time, so that a run can be hit in the middle of a block."""
    time.sleep(0.02)
    return (image - reference).sum(dim=0)


@pytest.fixture(scope="module")
def client():
    with connected(workers=2) as client:  # what a sweep without a client starts, here once for all tests
        yield client


@pytest.fixture(scope="module")
def some(tiny_pairs):
    return tiny_pairs[::6]


@pytest.fixture(scope="module")
def undisturbed(tiny, some, client, tmp_path_factory):
    """The table of ``some`` pairs by FGGB, which the disturbed runs must arrive at."""
    return xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path_factory.mktemp("undisturbed"), client=client, **QUICK)


def job_of(out):
    """Name of the job in a folder."""
    settings = json.loads((out / "manifest.json").read_text())
    del settings["versions"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def scratch_of(out):
    return out / f"scratch-{job_of(out)[:16]}"


def equal(table, other):
    pd.testing.assert_frame_equal(table, other, check_exact=True)


def test_a_sweep_is_the_plain_loop(tiny, some, client, tmp_path):
    methods = {
        "fggb": {"method": "fggb"},
        "sharp": {"method": "fggb", "blur": 0, "gradient": "signed"},
        "gradient": {"method": "gradient"},
    }
    metrics = [*METRICS, "scores", {"metric": "deletion", "fill": "mean", "steps": 3, "pairs": "genuine"}]
    swept = xfv.sweep(tiny, some, methods, metrics, out=tmp_path, client=client, **QUICK)
    looped = deletion_table(tiny, some, methods, metrics, threshold=0.945)
    pd.testing.assert_frame_equal(swept, looped, atol=1e-5)
    pd.testing.assert_frame_equal(areas(swept), areas(looped))
    equal(xfv.read_sweep(tmp_path), swept)


STAND_INS = [{"metric": "deletion", "steps": 4, "masked": "both", "map": which, "blur": 5} for which in MAPS]


def test_a_sweep_with_stand_ins_is_the_plain_loop(tiny, some, client, tmp_path):
    """Maps of other partners and of other blocks' pairs; of methods of two stages, one of which needs the partner's."""
    methods = {name: {"method": name} | SMALL.get(name, {}) for name in ("fggb", "gradient", "xface")}
    metrics = [*STAND_INS, {"metric": "insertion", "steps": 3, "pairs": "genuine"}]
    run = lambda: xfv.sweep(tiny, some, methods, metrics, out=tmp_path, client=client, **QUICK)
    swept = run()
    looped = deletion_table(tiny, some, methods, metrics, threshold=0.945)
    assert set(looped["map"]) == set(MAPS) and looped["map"].value_counts().min() > 10
    pd.testing.assert_frame_equal(swept, looped, atol=1e-5)
    costs = read_costs(tmp_path)
    # one photograph is only at hand as a partner, whom xface must prepare, too
    assert costs.preparations.sum() == len(some.names) + len(some.images) == 19 + 20
    assert (costs.total >= costs.preparing + costs.scoring).all()
    assert not list(tmp_path.glob("scratch-*"))
    block_path(tmp_path, 2).unlink()
    equal(run(), swept)


def test_maps_that_were_kept_for_other_blocks_are_used_if_they_are_whole(tiny, some, client, tmp_path, monkeypatch):
    """A run that broke off while pairs were scored goes on with the maps; a damaged file of them is made anew."""
    methods, run_block = ["fggb"], sys.modules["xfvlib.sweep"].run_block
    run = lambda out: xfv.sweep(tiny, some, methods, STAND_INS, out=tmp_path / out, client=client, **QUICK)
    expected = run("undisturbed")

    def broken(number, path, digest):
        raise ArithmeticError("broke off")

    monkeypatch.setattr(sys.modules["xfvlib.sweep"], "run_block", broken)
    with pytest.raises(RuntimeError, match="4 of 4 blocks failed.*broke off"):
        run("disturbed")
    kept = sorted((tmp_path / "disturbed").glob("scratch-*/maps-*.kept"))
    assert len(kept) == 4
    content = kept[1].read_bytes()
    kept[1].write_bytes(content[:99] + bytes([content[99] ^ 4]) + content[100:])
    written = [path.stat().st_mtime_ns for path in kept]
    with pytest.raises(RuntimeError, match="broke off"):
        run("disturbed")
    assert [old == path.stat().st_mtime_ns for old, path in zip(written, kept)] == [True, False, True, True]
    monkeypatch.setattr(sys.modules["xfvlib.sweep"], "run_block", run_block)
    equal(run("disturbed"), expected)


def test_an_unreadable_image_stands_in_for_nobody(tiny, some, client, tmp_path):
    crops = {name: crop for name, crop in some.images.items() if name != some.names[3]}
    lost = xfv.PairSet("lost", some.table, crops)
    table = xfv.sweep(tiny, lost, ["gradient"], STAND_INS, out=tmp_path, client=client, **QUICK)
    hit = (some.table.name_a == some.names[3]) | (some.table.name_b == some.names[3])
    assert sorted(table[table.error.notna()].pair.unique()) == np.flatnonzero(hit).tolist()
    rest = table[table.error.isna()]
    assert set(rest["map"]) == set(MAPS) and rest.area.notna().all() and rest.pair.nunique() == (~hit).sum()


def test_an_address_is_as_good_as_a_client(tiny, some, undisturbed, client, tmp_path, capfd):
    equal(
        xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client.scheduler.address, progress=True, **QUICK),
        undisturbed,
    )
    assert "4/4" in capfd.readouterr().err


def test_an_image_is_prepared_once_for_all_its_pairs(tiny, tiny_pairs, client, tmp_path):
    names = list(tiny_pairs.images)
    table = tiny_pairs.table
    square = tiny_pairs[(table.name_a.isin(names[:10]) & table.name_b.isin(names[10:])).to_numpy()]
    assert len(square) == 100 and len(square.names) == 20
    metrics = {"metric": "deletion", "masked": "both", "steps": 2}
    tables = {}
    for room in (1e9, 4 * 11 * 400 * 7, 0):  # for all images, for seven of them, for none
        tables[room] = xfv.sweep(
            tiny,
            square,
            ["fggb"],
            metrics,
            out=tmp_path / str(room),
            client=client,
            keep_bytes=room,
            block=16,
            threshold=0.945,
            controls=False,
        )
    used = [read_costs(tmp_path / str(room)).preparations.sum() for room in tables]
    assert used[0] == 20
    assert used[0] < used[1] < used[2] == read_costs(tmp_path / "0").images.sum()
    equal(tables[1e9], tables[0])
    equal(tables[1e9], list(tables.values())[1])
    xfv.sweep(
        tiny,
        square,
        ["fggb"],
        metrics | {"masked": "probe"},
        out=tmp_path / "probe",
        client=client,
        threshold=0.945,
        controls=False,
    )
    assert read_costs(tmp_path / "probe").preparations.sum() == 10  # references need no map where they stay whole


TWO_STAGES = {
    "fggb": {"method": "fggb"},
    "similarity": {"method": "fggb", "part": "similarity"},
    "xface": {"method": "xface"} | SMALL["xface"],
    "against the clean": {"method": "xface", "scoring": 2} | SMALL["xface"],
    "corrrise": {"method": "corrrise", "masks": 60},
    "minplus": {"method": "minplus", "quick": True, "tmax": 1},
    "lime": {"method": "lime", "samples": 60, "superpixels": 16},
    "occlusion": {"method": "occlusion", "size": 28, "stride": 17},
}


@pytest.mark.parametrize("block", [100, 20])
def test_every_pair_of_ten_images_costs_ten_preparations(tiny, tiny_pairs, client, tmp_path, block):
    """Of each method of two stages; labels that differ only in the second stage share them."""
    pytest.importorskip("zarr")
    assert {given["method"] for given in TWO_STAGES.values()} == {
        name for name, method in xfv.METHODS.items() if method.prepare
    }
    names = list(tiny_pairs.images)[:10]
    pairs = tiny_pairs[tiny_pairs.table.isin(names)[["name_a", "name_b"]].all(axis=1).to_numpy()]
    itself = pd.DataFrame({"name_a": names, "name_b": names, "same": True, "fold": -1})
    pairs = xfv.PairSet("ten", pd.concat([pairs.table, itself]), pairs.images)
    assert len(pairs) == 55
    xfv.sweep(tiny, pairs, TWO_STAGES, "scores", out=tmp_path, client=client, maps="zarr", threshold=0.3, block=block)
    assert read_costs(tmp_path).preparations.sum() == 10 * len({given["method"] for given in TWO_STAGES.values()})
    for label, given in TWO_STAGES.items():
        options = {key: value for key, value in given.items() if key != "method"}
        for pair, swept in zip(pairs, read_maps(tmp_path, label, range(55))):
            alone = xfv.METHODS[given["method"]].maps(tiny, pair.a, pair.b, threshold=0.3, **options)
            for one, other in zip(swept, alone):  # kept with 3 digits
                assert np.allclose(one, other, atol=1e-3 * float(other.abs().max()) + 1e-9), (label, pair)


def test_tiles_hold_every_pair_once_and_few_images(tiny_pairs):
    for pairs, block in ((tiny_pairs, 16), (tiny_pairs[:7], 3), (tiny_pairs[:7], 100)):
        found = _tiles(pairs.table, block)
        assert sorted(np.concatenate(found)) == list(range(len(pairs)))
        assert all(len(tile) == block for tile in found[:-1]) and 0 < len(found[-1]) <= block
    tiled, drawn = _tiles(tiny_pairs.table, 16), np.array_split(np.random.default_rng(0).permutation(190), 12)
    images, at_random = (np.mean([len(tiny_pairs[tile].names) for tile in tiling]) for tiling in (tiled, drawn))
    assert images < 0.7 * at_random


def test_starting_again_computes_only_what_is_missing(tiny, some, undisturbed, client, tmp_path):
    run = lambda: xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client, **QUICK)
    run()
    blocks = [block_path(tmp_path, number) for number in range(4)]
    written = [path.stat().st_mtime_ns for path in blocks]
    blocks[1].unlink()
    blocks[2].write_bytes(blocks[2].read_bytes()[:-100])  # as after a loss of power
    scratch = scratch_of(tmp_path)
    scratch.mkdir()
    (scratch / "123-000001.parquet").write_bytes(b"half a file")
    equal(run(), undisturbed)
    again = [path.stat().st_mtime_ns for path in blocks]
    assert [a == b for a, b in zip(written, again)] == [True, False, False, True]
    assert len(list((tmp_path / "blocks").iterdir())) == 4


def test_preparations_of_a_run_that_broke_off_are_used_if_they_are_whole(
    tiny, some, undisturbed, client, tmp_path, monkeypatch
):
    methods = {
        "fggb": {"method": "fggb"},
        "fussy": {"method": "fussy", "limit": max(float(p.a.sum() + p.b.sum()) for p in some) - 0.1},
    }
    monkeypatch.setitem(xfv.METHODS, "fussy", fussy)
    with pytest.raises(RuntimeError, match="1 of 4 blocks failed"):
        xfv.sweep(tiny, some, methods, METRICS, out=tmp_path, client=client, **QUICK)
    kept = sorted(tmp_path.glob("scratch-*/*.prepared"))
    before = read_costs(tmp_path).preparations.sum()
    assert len(kept) > 2 and before < 20
    contents = [path.read_bytes() for path in kept]
    damaged = [contents[0][:99] + bytes([contents[0][99] ^ 4]) + contents[0][100:], contents[1][:-9], contents[2]]
    for path, content in zip(kept, [*damaged, b"", contents[3]]):
        path.write_bytes(content)
    monkeypatch.setitem(xfv.METHODS, "fussy", lambda model, image, reference, *, limit: image.sum(dim=0))
    table = xfv.sweep(tiny, some, methods, METRICS, out=tmp_path, client=client, **QUICK)
    equal(table[~table.method.str.contains("fussy")].reset_index(drop=True), undisturbed)
    assert read_costs(tmp_path).preparations.sum() - before <= 5  # as many as were damaged
    assert not list(tmp_path.glob("scratch-*"))


def test_a_changed_bit_is_seen_or_changes_nothing(tiny, some, undisturbed, client, tmp_path):
    run = lambda: xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client, **QUICK)
    run()
    path = block_path(tmp_path, 2)
    content, hits, name = path.read_bytes(), [], job_of(tmp_path)
    whole = read_block(path, name)
    for bit in range(3, 8 * len(content), 61):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        if (found := read_block(path, name)) is None:
            hits.append(bytes(changed))
        else:
            assert found[0].equals(whole[0]) and found[1] == whole[1]
    assert len(hits) > 100
    for changed in hits[:: len(hits) // 3]:
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=f"block {re.escape(str(path))} is damaged"):
            xfv.read_sweep(tmp_path)
        equal(run(), undisturbed)


def test_blocks_of_another_sweep_are_not_taken_for_this_ones(tiny, some, undisturbed, client, tmp_path):
    run = lambda out, threshold: xfv.sweep(
        tiny, some, ["fggb"], METRICS, out=tmp_path / out, client=client, block=8, threshold=threshold
    )
    run("ours", 0.945)
    run("other", 0.9)
    shutil.copy(block_path(tmp_path / "ours", 0), tmp_path / "ours" / "blocks" / "000000 (copy).parquet")
    shutil.copy(block_path(tmp_path / "ours", 0), block_path(tmp_path / "ours", 9))
    equal(xfv.read_sweep(tmp_path / "ours"), undisturbed)  # they are nobody's blocks
    for source in (block_path(tmp_path / "other", 1), block_path(tmp_path / "ours", 0)):
        shutil.copy(source, block_path(tmp_path / "ours", 1))
        with pytest.raises(ValueError, match=r"000001.*another sweep"):
            xfv.read_sweep(tmp_path / "ours")
        equal(run("ours", 0.945), undisturbed)
    (tmp_path / "ours" / "manifest.json").unlink()
    with pytest.raises(ValueError, match="'blocks' but no sweep"):
        run("ours", 0.9)
    with pytest.raises(FileNotFoundError, match="no manifest"):
        xfv.read_sweep(tmp_path / "ours")


@pytest.mark.parametrize("manifest", ["", "{", "[]", "{}", '{"name": "an extension", "versions": []}', "[" * 100_000])
def test_a_manifest_of_something_else_is_refused_in_words(tiny, some, tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    for read in (xfv.read_sweep, lambda out: xfv.sweep(tiny, some, ["fggb"], METRICS, out=out, **QUICK)):
        with pytest.raises(ValueError, match="damaged, or no sweep's manifest"):
            read(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == manifest


FOREIGN = [
    "gradients/mine.npy",
    "job-notes.pickle",
    ".123-notes",
    "scratch/mine",
    "blocks/.1-mine",
    "scratch-mine/notes",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_with_other_things_is_refused_and_nothing_in_it_is_deleted(tiny, some, client, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    with pytest.raises(ValueError, match=f"{name.split('/')[0]}' but no sweep"):
        xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client, **QUICK)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    begun = tmp_path / "begun"
    for _ in range(2):
        xfv.sweep(tiny, some[:8], [], "scores", out=begun, client=client, **QUICK)
        (begun / name).parent.mkdir(exist_ok=True)
        (begun / name).write_text("years of work")
        block_path(begun, 0).write_bytes(b"")
    xfv.sweep(tiny, some[:8], [], "scores", out=begun, client=client, **QUICK)
    assert (begun / name).read_text() == "years of work"


def test_a_folder_that_is_none_is_answered_in_words(tiny, some, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in ("file", "file/below", "link", "/proc/sweep"):
        with pytest.raises(OSError, match="no folder that can be written to"):
            xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path / out, **QUICK)
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "nowhere").exists()


def test_a_second_sweep_in_one_folder_is_refused(tiny, some, client, tmp_path, monkeypatch):
    monkeypatch.setitem(xfv.METHODS, "slow", slow)
    run = lambda: xfv.sweep(tiny, some, ["slow"], METRICS, out=tmp_path, client=client, **QUICK)
    first = threading.Thread(target=run)
    first.start()
    while not (tmp_path / "manifest.json").exists():
        time.sleep(0.01)
    with pytest.raises(RuntimeError, match="another sweep is running"):
        run()
    first.join()
    assert len(run()) and xfv.read_sweep(tmp_path).pair.nunique() == len(some)


class Trap:
    def __reduce__(self):
        return os.abort, ()


def test_nothing_in_the_folder_is_unpickled(tiny, some, undisturbed, client, tmp_path):
    """A job laid there by somebody else; preparations and blocks are no pickles."""
    run = lambda: xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client, **QUICK)
    run()
    scratch = scratch_of(tmp_path)
    scratch.mkdir()
    for path in (scratch / "job.pickle", scratch / "0.prepared", block_path(tmp_path, 1)):
        path.write_bytes(pickle.dumps(Trap()))
    equal(run(), undisturbed)


def test_threads_of_one_process_agree(tiny, some, undisturbed, tmp_path):
    """Methods leave nothing in the model that another thread could meet."""
    methods = [name for name in xfv.METHODS if name not in ("minplus", "lime", "fame", "xface", "corrrise")]
    tables = []
    for threads in (1, 4):
        with Client(processes=False, n_workers=1, threads_per_worker=threads, dashboard_address=None) as inside:
            tables.append(xfv.sweep(tiny, some, methods, METRICS, out=tmp_path / str(threads), client=inside, **QUICK))
            assert read_costs(tmp_path / str(threads)).preparations.sum() == 2 * len(some.names)
    equal(*tables)


def test_a_scheduler_that_does_not_answer_is_named(tiny, some, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["xfvlib.sweep"], "_PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense", "http://127.0.0.1"):
        with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at '{address}'"):
            xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=address, **QUICK)


def test_numbers_of_numpy_are_numbers(tiny, some, client, tmp_path):
    plain = {"methods": {"sharp": {"method": "fggb", "blur": 2}}, "threshold": 0.5, "seed": 1, "block": 8}
    numpy = {
        "methods": {"sharp": {"method": "fggb", "blur": np.float32(2)}},
        "threshold": np.float64(0.5),
        "seed": np.int64(1),
        "block": np.int64(8),
    }
    table = xfv.sweep(tiny, some, metrics=METRICS, out=tmp_path / "plain", client=client, **plain)
    equal(xfv.sweep(tiny, some, metrics=METRICS, out=tmp_path / "numpy", client=client, **numpy), table)


def test_other_settings_are_refused_by_name(tiny, some, undisturbed, client, tmp_path):
    xfv.sweep(tiny, some[:8], ["fggb"], "scores", out=tmp_path, client=client, **QUICK)
    other = pickle.loads(pickle.dumps(tiny))
    other.network[0].bias.data += 1e-3
    images = dict(some.images)
    images[some[:8].names[0]] = images[some[:8].names[0]] * 0.999
    changed = xfv.PairSet("tiny", some[:8].table, images)
    for words, arguments in {
        "metrics.*threshold": (tiny, some[:8], ["fggb"], "deletion", {"threshold": 0.9}),
        "methods": (tiny, some[:8], ["fggb", "gradient"], "scores", {}),
        "model hash": (other, some[:8], ["fggb"], "scores", {}),
        "data hash": (tiny, changed, ["fggb"], "scores", {}),
        "pairs: 8 there, 7 now": (tiny, some[:7], ["fggb"], "scores", {}),
        "seed": (tiny, some[:8], ["fggb"], "scores", {"seed": 1}),
    }.items():
        *positional, options = arguments
        with pytest.raises(ValueError, match=f"other settings.*{words}"):
            xfv.sweep(*positional, out=tmp_path, client=client, **(QUICK | options))


def test_other_packages_are_warned_of_and_listed(tiny, some, client, tmp_path):
    run = lambda: xfv.sweep(tiny, some[:8], [], "scores", out=tmp_path, client=client, **QUICK)
    run()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["versions"][0]["torch"] = "1.0"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match="torch: '1.0' there"):
        run()
    versions = json.loads((tmp_path / "manifest.json").read_text())["versions"]
    assert [one["torch"] for one in versions] == ["1.0", metadata.version("torch")]
    run()  # known by now


def test_an_undecodable_image_is_recorded_and_the_rest_goes_on(tiny, some, client, tmp_path):
    sources = {}
    for name, crop in some.images.items():
        sources[name] = tmp_path / f"{name.replace('/', '-')}.png"
        Image.fromarray((crop.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(sources[name])
    run = lambda out: xfv.sweep(
        tiny,
        xfv.PairSet("files", some.table, Crops(sources, tiny, aligned=True)),
        ["fggb"],
        METRICS,
        out=tmp_path / out,
        client=client,
        **QUICK,
    )
    whole = run("whole")
    name = some.names[3]
    sources[name].write_bytes(sources[name].read_bytes()[:60])
    table = run("spoilt")
    hit = (some.table.name_a == name) | (some.table.name_b == name)
    assert 0 < hit.sum() < len(some)
    errors = table[table.error.notna()]
    assert errors.pair.tolist() == np.flatnonzero(hit).tolist() and errors.area.isna().all()
    assert errors.error.str.contains(name).all()
    rest = table[table.error.isna()].reset_index(drop=True)
    equal(rest, whole[~whole.pair.isin(errors.pair)].reset_index(drop=True))
    assert len(areas(table)) == len(areas(whole))


def test_a_killed_worker_is_replaced(tiny, some, client, tmp_path, monkeypatch):
    monkeypatch.setitem(xfv.METHODS, "slow", slow)
    expected = xfv.sweep(tiny, some, ["slow", "fggb"], METRICS, out=tmp_path / "undisturbed", client=client, **QUICK)
    killed, out = [], tmp_path / "disturbed"

    def kill():
        while not killed:
            time.sleep(0.01)
            busy = [address for address, tasks in client.processing().items() if tasks]
            if busy and list((out / "blocks").glob("0*")):
                os.kill(pids[busy[0]], signal.SIGKILL)
                killed.append(pids[busy[0]])

    pids = client.run(os.getpid)
    thread = threading.Thread(target=kill)
    thread.start()
    table = xfv.sweep(tiny, some, ["slow", "fggb"], METRICS, out=out, client=client, **QUICK)
    thread.join()
    equal(table, expected)
    assert killed and not psutil.pid_exists(killed[0])
    client.wait_for_workers(2)


RUN = """
import sys, pickle, xfvlib as xfv
if __name__ == "__main__":
    model, pairs, slow, metrics, quick = pickle.load(open(sys.argv[1], "rb"))
    xfv.METHODS["slow"] = slow
    xfv.sweep(model, pairs, ["slow", "fggb"], metrics, out=sys.argv[2], workers=1, **quick)
"""


def test_without_a_client_the_table_is_the_same_though_the_run_was_killed(tiny, some, client, tmp_path, monkeypatch):
    """SIGKILL to the whole run, in processes of this machine, at a random moment; another goes on with the rest."""
    monkeypatch.setitem(xfv.METHODS, "slow", slow)
    expected = xfv.sweep(tiny, some, ["slow", "fggb"], METRICS, out=tmp_path / "undisturbed", client=client, **QUICK)
    out = tmp_path / "disturbed"
    (tmp_path / "run.py").write_text(RUN)
    with (tmp_path / "arguments").open("wb") as file:
        cloudpickle.dump((tiny, some, slow, METRICS, QUICK), file)
    environment = os.environ | {"PYTHONPATH": str(Path(xfv.__file__).parents[1])}
    command = [sys.executable, tmp_path / "run.py", tmp_path / "arguments", out]
    with (tmp_path / "printed").open("w") as printed:
        run = subprocess.Popen(command, env=environment, stdout=printed, stderr=printed)
    random = np.random.default_rng()
    begun = str(random.choice(["blocks/0*", "scratch-*/*.prepared"]))
    while not list(out.glob(begun)):
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.5))
    assert (tmp_path / "printed").read_text() == ""
    workers = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    assert not psutil.wait_procs(workers, timeout=10)[1]  # none of its processes stays behind
    done = {file.name: file.stat().st_mtime_ns for file in out.glob("blocks/0*")}
    assert (begun != "blocks/0*" or done) and len(done) < 4 and list(out.glob("scratch-*"))
    equal(xfv.sweep(tiny, some, ["slow", "fggb"], METRICS, out=out, client=client, **QUICK), expected)
    assert all((out / "blocks" / name).stat().st_mtime_ns == written for name, written in done.items())
    assert sorted(file.name for file in out.iterdir()) == [".lock", "blocks", "manifest.json"]


def limit_file_size(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_stops_the_sweep_in_words_and_leaves_no_half_files(tiny, some, undisturbed, client, tmp_path):
    run = lambda: xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client, **QUICK)
    try:
        client.run(limit_file_size, 16_000)  # less than an image's gradients, more than a block's file
        equal(
            xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path / "no gradients", client=client, **QUICK), undisturbed
        )
        shutil.rmtree(tmp_path / "no gradients")
        client.run(limit_file_size, 4000)  # less than either
        with pytest.raises(RuntimeError, match=r"4 of 4 blocks failed.*File too large"):
            run()
    finally:
        client.run(limit_file_size, resource.RLIM_INFINITY)
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob("*.prepared"))
    equal(run(), undisturbed)


def test_maps_are_kept_on_demand(tiny, some, client, tmp_path):
    pytest.importorskip("zarr")
    for _ in range(2):  # the second time they are there
        xfv.sweep(tiny, some, ["fggb", "gradient × input"], "scores", out=tmp_path, client=client, maps="zarr", **QUICK)
    numbers = [3, 0, 17]
    for label in ("fggb", "gradient × input"):
        for n, (map_a, map_b) in zip(numbers, read_maps(tmp_path, label, numbers)):
            e = xfv.explain(tiny, some[n], label, threshold=0.945)
            for kept, full in ((map_a, e.map_a), (map_b, e.map_b)):
                assert np.allclose(kept, full.numpy(), atol=6e-4 * float(full.abs().max()))


def test_maps_without_zarr_are_answered_in_words(tiny, some, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"xfvlib\[sweep\]"):
        xfv.sweep(tiny, some, out=tmp_path / "maps", maps="zarr", **QUICK)
    assert not (tmp_path / "maps").exists()


def test_published_networks_reach_other_processes_unchanged():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 18**2, 5)
    )
    model = xfv.FaceModel(frozen(network), size=20)
    again = pickle.loads(cloudpickle.dumps(model))
    images = torch.rand(2, 3, 20, 20)
    assert torch.equal(model(images), again(images))


class Unsendable(nn.Flatten):
    def __reduce__(self):
        raise RuntimeError("holds a device")


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"methods": ["fgbg"]}, ValueError, "'fggb'"),
        (
            {"methods": {"sharp": {"method": "fggb", "blurr": 0}}},
            ValueError,
            "fggb has no option 'blurr'; it has 'blur', 'channels_at_once'",
        ),
        ({"methods": {"one": {"method": "xface", "both": True}}}, ValueError, "no option 'both'"),
        ({"metrics": ["area"]}, ValueError, "'scores'"),
        ({"metrics": [{"metric": "deletion", "fill": "white"}]}, ValueError, "'blur'"),
        ({"threshold": 2}, ValueError, "at most 1"),
        ({"maps": "npz"}, ValueError, "'zarr'"),
        *(({"block": value}, ValueError, "block is") for value in (0, 1.5, float("nan"), "8")),
        *(({"workers": value}, ValueError, "workers is") for value in (-1, 0, 1.5, float("nan"), "2")),
        *(({"keep_bytes": value}, ValueError, "keep_bytes is") for value in (-1, float("nan"), "1 GB", None)),
        *(({"maps": value}, ValueError, "maps is") for value in (True, ["zarr"])),
        *(({"seed": value}, ValueError, "seed is") for value in (b"x", 0.5, None)),
        ({"client": 5}, TypeError, "client is 5; .* scheduler's address"),
        ({"pairs": [1]}, ValueError, "a PairSet with a pair or more"),
        ({"pairs": []}, ValueError, "0 pairs.* a pair or more"),
        ({"model": xfv.FaceModel(nn.Flatten(), size=20, differentiable=False)}, TypeError, "need none"),
        ({"model": xfv.FaceModel(Unsendable(), size=20, name="glued")}, TypeError, "glued.*__reduce__.*holds a device"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_answered_before_anything_is_written(tiny, some, tmp_path, change, error, words):
    arguments = (
        {"model": tiny, "pairs": some, "methods": ["fggb"], "metrics": ["deletion"], "out": tmp_path / "out"}
        | QUICK
        | change
    )
    if change.get("pairs") == []:
        arguments["pairs"] = some[[]]
    with pytest.raises(error, match=words):
        xfv.sweep(**arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_sweep_is_answered_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="no manifest of a sweep"):
        xfv.read_sweep(tmp_path)
    with pytest.raises(FileNotFoundError, match="no maps"):
        read_maps(tmp_path, "fggb", [0])


def fussy(model, image, reference, *, threshold, limit):
    if float(image.sum() + reference.sum()) > limit:
        raise ArithmeticError("cannot explain this pair")
    return image.sum(dim=0)


def test_a_method_that_fails_keeps_the_other_blocks(tiny, some, client, tmp_path, monkeypatch):
    monkeypatch.setitem(xfv.METHODS, "fussy", fussy)
    largest = max(float(pair.a.sum() + pair.b.sum()) for pair in some)
    methods = {"fussy": {"method": "fussy", "limit": largest - 0.1}}
    with pytest.raises(RuntimeError, match=r"1 of 4 blocks failed.*cannot explain") as caught:
        xfv.sweep(tiny, some, methods, METRICS, out=tmp_path, client=client, **QUICK)
    assert isinstance(caught.value.__cause__, ArithmeticError)
    assert xfv.read_sweep(tmp_path).pair.nunique() == 24
