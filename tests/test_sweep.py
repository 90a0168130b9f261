import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image
from torch import nn

import xfvlib as xfv
from xfvlib.faithfulness import areas, deletion_table
from xfvlib.models.frozen import frozen
from xfvlib.pairs import Crops
from xfvlib.sweep import block_path, connected, gradient_path, read_costs, read_maps, tiles

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


def equal(table, other):
    pd.testing.assert_frame_equal(table, other, check_exact=True)


def test_a_sweep_is_the_plain_loop(tiny, some, client, tmp_path):
    methods = {"fggb": {"method": "fggb"}, "sharp": {"method": "fggb", "blur": 0, "gradient": "signed"}, "gradient": {"method": "gradient"}}
    metrics = [*METRICS, "scores", {"metric": "deletion", "fill": "mean", "steps": 3, "pairs": "genuine"}]
    swept = xfv.sweep(tiny, some, methods, metrics, out=tmp_path, client=client, **QUICK)
    looped = deletion_table(tiny, some, methods, metrics, threshold=0.945)
    pd.testing.assert_frame_equal(swept, looped, atol=1e-5)
    pd.testing.assert_frame_equal(areas(swept), areas(looped))
    equal(xfv.read_sweep(tmp_path), swept)


def test_an_address_is_as_good_as_a_client(tiny, some, undisturbed, client, tmp_path, capfd):
    equal(xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client.scheduler.address, progress=True, **QUICK), undisturbed)
    assert "4 of 4 blocks" in capfd.readouterr().err


def test_an_images_gradients_are_computed_once_for_all_its_pairs(tiny, tiny_pairs, client, tmp_path):
    names = list(tiny_pairs.images)
    table = tiny_pairs.table
    square = tiny_pairs[(table.name_a.isin(names[:10]) & table.name_b.isin(names[10:])).to_numpy()]
    assert len(square) == 100 and len(square.names) == 20
    metrics = {"metric": "deletion", "masked": "both", "steps": 2}
    tables = {}
    for room in (1e9, 4 * 11 * 400 * 7, 0):  # for all images, for seven of them, for none
        tables[room] = xfv.sweep(tiny, square, ["fggb"], metrics, out=tmp_path / str(room), client=client, keep_bytes=room, block=16,
                                 threshold=0.945, controls=False)  # fmt: skip
    used = [read_costs(tmp_path / str(room)).gradients.sum() for room in tables]
    assert used[0] == 20
    assert used[0] < used[1] < used[2] == read_costs(tmp_path / "0").images.sum()
    equal(tables[1e9], tables[0])
    equal(tables[1e9], list(tables.values())[1])
    xfv.sweep(tiny, square, ["fggb"], metrics | {"masked": "probe"}, out=tmp_path / "probe", client=client, threshold=0.945, controls=False)
    assert read_costs(tmp_path / "probe").gradients.sum() == 10  # references need no map where they stay whole


def test_tiles_hold_every_pair_once_and_few_images(tiny_pairs):
    for pairs, block in ((tiny_pairs, 16), (tiny_pairs[:7], 3), (tiny_pairs[:7], 100)):
        found = tiles(pairs.table, block)
        assert sorted(np.concatenate(found)) == list(range(len(pairs)))
        assert all(len(tile) == block for tile in found[:-1]) and 0 < len(found[-1]) <= block
    tiled, drawn = tiles(tiny_pairs.table, 16), np.array_split(np.random.default_rng(0).permutation(190), 12)
    images, at_random = (np.mean([len(tiny_pairs[tile].names) for tile in tiling]) for tiling in (tiled, drawn))
    assert images < 0.7 * at_random


def test_starting_again_computes_only_what_is_missing(tiny, some, undisturbed, client, tmp_path):
    run = lambda: xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client, **QUICK)
    run()
    blocks = [block_path(tmp_path, number) for number in range(4)]
    written = [path.stat().st_mtime_ns for path in blocks]
    blocks[1].unlink()
    blocks[2].write_bytes(blocks[2].read_bytes()[:-100])  # as after a loss of power
    (tmp_path / "blocks" / ".123-000001.parquet").write_bytes(b"half a file")
    (tmp_path / "gradients").mkdir()
    for name in some.names:
        gradient_path(tmp_path, name, "{}").write_bytes(b"\x93NUMPY")
    equal(run(), undisturbed)
    again = [path.stat().st_mtime_ns for path in blocks]
    assert [a == b for a, b in zip(written, again)] == [True, False, False, True]
    assert len(list((tmp_path / "blocks").iterdir())) == 4


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
    with pytest.warns(UserWarning, match="torch 1.0 →"):
        run()
    versions = json.loads((tmp_path / "manifest.json").read_text())["versions"]
    assert [one["torch"] for one in versions] == ["1.0", torch.__version__]
    run()  # known by now


def test_an_undecodable_image_is_recorded_and_the_rest_goes_on(tiny, some, client, tmp_path):
    sources = {}
    for name, crop in some.images.items():
        sources[name] = tmp_path / f"{name.replace('/', '-')}.png"
        Image.fromarray((crop.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(sources[name])
    run = lambda out: xfv.sweep(tiny, xfv.PairSet("files", some.table, Crops(sources, tiny, aligned=True)), ["fggb"], METRICS,
                                out=tmp_path / out, client=client, **QUICK)  # fmt: skip
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
    with open(tmp_path / "arguments", "wb") as file:
        cloudpickle.dump((tiny, some, slow, METRICS, QUICK), file)
    environment = os.environ | {"PYTHONPATH": str(Path(xfv.__file__).parents[1])}
    command = [sys.executable, tmp_path / "run.py", tmp_path / "arguments", out]
    with open(tmp_path / "printed", "w") as printed:
        run = subprocess.Popen(command, env=environment, stdout=printed, stderr=printed)
    random = np.random.default_rng()
    begun = str(random.choice(["blocks/0*", "job-*"]))
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
    assert (begun == "job-*" or done) and len(done) < 4 and list(out.glob("job-*"))
    equal(xfv.sweep(tiny, some, ["slow", "fggb"], METRICS, out=out, client=client, **QUICK), expected)
    assert all((out / "blocks" / name).stat().st_mtime_ns == written for name, written in done.items())
    assert sorted(file.name for file in out.iterdir()) == ["blocks", "manifest.json"]


def limit_file_size(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_stops_the_sweep_in_words_and_leaves_no_half_files(tiny, some, undisturbed, client, tmp_path):
    run = lambda: xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path, client=client, **QUICK)
    try:
        client.run(limit_file_size, 16_000)  # less than an image's gradients, more than a block's file
        equal(xfv.sweep(tiny, some, ["fggb"], METRICS, out=tmp_path / "no gradients", client=client, **QUICK), undisturbed)
        shutil.rmtree(tmp_path / "no gradients")
        client.run(limit_file_size, 4000)  # less than either
        with pytest.raises(RuntimeError, match="4 of 4 blocks failed.*File too large"):
            run()
    finally:
        client.run(limit_file_size, resource.RLIM_INFINITY)
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob(".*"))
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
    with pytest.raises(ImportError, match="pip install zarr"):
        xfv.sweep(tiny, some, out=tmp_path / "maps", maps="zarr", **QUICK)
    assert not (tmp_path / "maps").exists()


def test_published_networks_reach_other_processes_unchanged():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 18**2, 5))
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
        ({"threshold": 2}, ValueError, "−1, 1"),
        ({"maps": "npz"}, ValueError, "'zarr'"),
        ({"block": 0}, ValueError, "at least one"),
        ({"pairs": []}, ValueError, "0 pairs"),
        ({"model": xfv.FaceModel(nn.Flatten(), size=20, differentiable=False)}, TypeError, "need none"),
        ({"model": xfv.FaceModel(Unsendable(), size=20, name="glued")}, TypeError, "glued.*holds a device.*__reduce__"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_answered_before_anything_is_written(tiny, some, tmp_path, change, error, words):
    arguments = {"model": tiny, "pairs": some, "methods": ["fggb"], "metrics": ["deletion"], "out": tmp_path / "out"} | QUICK | change
    if change.get("pairs") == []:
        arguments["pairs"] = some[[]]
    with pytest.raises(error, match=words):
        xfv.sweep(**arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_sweep_is_answered_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="no block"):
        xfv.read_sweep(tmp_path)


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
