"""Make ``results/methods_….parquet``, every method by deletion and insertion, and ``results/patches_….parquet``, the
Patch test.

Run from the project folder (hours; what was computed is kept in ``build/results``, and running again goes on from
there):

    .venv/bin/python data/make_results.py orl
    .venv/bin/python data/make_results.py lfw --lfw folder/lfw --weights mobilefacenet.pt

Each method is a sweep of its own on the same pairs, so that a new method adds its rows and leaves the others alone. The
controls, which do not depend on the method, are one more. Slow methods and the Patch test get some of the same pairs.
Other versions of FGGB are made on ORL only. The files are written when all is done.
"""

import argparse
import json
import time
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd

import xfvlib as xfv
from xfvlib.faithfulness import compare_all, save_table
from xfvlib.files import DATA, write_whole
from xfvlib.sanity import patch_test, patched
from xfvlib.sweep import connected, data_hash, model_hash, one_torch_thread

WORK = Path("build/results")
FILLS = ("black", "mean")
SLOW = 20  # seconds a pair with one thread, 10 for two workers; methods of more get SLOW_PAIRS of each kind
SLOW_PAIRS = 40
WAYS = {
    "minplus": {"quick": True},  # the full setting takes minutes a pair
    "fame": {"steps": 100},  # within the 75 to 200 that the paper calls stable
}
VARIANTS = {  # the choices that the paper leaves open
    "fggb, signed": {"method": "fggb", "gradient": "signed"},
    "fggb, raw": {"method": "fggb", "embedding": "raw"},
    "fggb, not normalised": {"method": "fggb", "normalise": False},
    "fggb, blur 0": {"method": "fggb", "blur": 0},
    "fggb, clipped first": {"method": "fggb", "part": ["similarity", "dissimilarity"]},  # of genuine, of impostor pairs
}
PATCHED = ["gradient", "xssab", "smoothgrad", "grad_cam", "fggb", "occlusion"]  # seconds a pair, of each family


def setting(arguments):
    """Model, with its threshold, and pairs."""
    if arguments.setting == "orl":
        return xfv.load_model(), xfv.load_pairs("orl")
    if not (arguments.lfw and arguments.weights):
        raise SystemExit(
            "the setting lfw needs --lfw, the folder with pairs.txt and the photographs, and --weights, the checkpoint"
        )
    model = xfv.load_model(weights=arguments.weights)
    pairs = xfv.load_pairs("lfw", root=arguments.lfw, model=model)
    xfv.calibrate(model, pairs)
    return model, pairs


def seconds_a_pair(model, pairs, methods, path):
    """Both maps of a genuine and of an impostor pair, their mean, with one thread, as a worker has; kept, so that a
    later run chooses the same pairs."""
    known = json.loads(path.read_text()) if path.exists() else {}
    genuine, impostor = (pairs[int(np.flatnonzero(pairs.labels == same)[0])] for same in (True, False))
    for label, given in methods.items():
        if label not in known:
            spent = []
            for pair in (genuine, genuine, impostor):  # the first time may import a package
                with one_torch_thread():
                    start = time.perf_counter()
                    xfv.explain(model, pair, **sweeps_of(WORK, pairs, given)[0][2])
                spent.append(time.perf_counter() - start)
            known[label] = round(sum(spent[1:]) / 2, 3)
            write_whole(path, lambda temporary: temporary.write_text(json.dumps(known, indent=1)))
    return {label: known[label] for label in methods}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=("orl", "lfw"), help="SFace on ORL, or MobileFaceNet on LFW")
    parser.add_argument("--lfw", type=Path, help="folder with pairs.txt and the photographs")
    parser.add_argument("--weights", type=Path, help="checkpoint of the MobileFaceNet")
    parser.add_argument("--pairs", type=int, default=100, help="genuine pairs, and as many impostor pairs (100)")
    arguments = parser.parse_args()

    model, pairs = setting(arguments)
    methods = {name: {"method": name} | WAYS.get(name, {}) for name in xfv.METHODS}
    if arguments.setting == "orl":
        methods |= VARIANTS
    many = pairs.draw(arguments.pairs)
    seconds = seconds_a_pair(model, many, methods, WORK / arguments.setting / "seconds.json")
    with connected() as client:
        make(arguments, model, many, methods, seconds, client)


def make(arguments, model, many, methods, seconds, client):
    work = WORK / arguments.setting
    metrics = [
        {"metric": metric, "masked": masked, "fill": fill}
        for fill in FILLS
        for masked in ("probe", "both")
        for metric in ("deletion", "insertion")
    ]
    fewer = many.draw(min(arguments.pairs, SLOW_PAIRS))
    shared = {"client": client, "block": 4, "progress": True}
    tables, made_by = [xfv.sweep(model, many, [], metrics, out=work / "controls", **shared)], {}
    patches = [kept_patch_test(model, fewer, {}, work / "controls")]
    for label, given in methods.items():
        chosen = many if seconds[label] < SLOW else fewer
        print(f"{label}: {seconds[label]:.1f} s a pair, {len(chosen)} pairs", flush=True)
        folder = work / label.replace(" ", "_")
        for out, some, options in sweeps_of(folder, chosen, given):
            tables.append(xfv.sweep(model, some, {label: options}, metrics, out=out, controls=False, **shared))
        of_all = {"methods": {label: given}, "pairs": len(chosen), "data hash": data_hash(chosen)}
        made_by[label] = json.loads((out / "manifest.json").read_text()) | of_all
        if label in PATCHED:
            patches.append(kept_patch_test(model, fewer, {label: given}, folder))
    table = numbered(pd.concat(tables), many)
    keep(arguments.setting, table, made_by, seconds)
    keep_patches(arguments.setting, numbered(pd.concat(patches), many), fewer, model, made_by)
    print(compare_all(table).to_string())


def sweeps_of(folder, pairs, given):
    """Folder, pairs and options of a method's sweeps: one, or where half a map ranks, one for each kind of pair."""
    if "part" not in given:
        return [(folder, pairs, given)]
    kinds = {part: np.flatnonzero(pairs.labels == (part == "similarity")) for part in given["part"]}
    return [(folder / part, pairs[rows], given | {"part": part}) for part, rows in kinds.items()]


def kept_patch_test(model, pairs, methods, folder):
    """The Patch test of some methods, read where it was computed before."""
    path = folder / "patches.parquet"
    if not path.exists():
        found = patch_test(model, pairs, methods)
        write_whole(path, lambda temporary: found.to_parquet(temporary))
    return pd.read_parquet(path)


def numbered(table, many):
    """One number a pair, its place in ``many``: the sweep of some of the pairs has numbers of its own."""
    places = {names: number for number, names in enumerate(zip(many.table.name_a, many.table.name_b))}
    return table.assign(pair=[places[names] for names in zip(table.name_a, table.name_b)])


def keep(setting, table, made_by, seconds):
    """Write the areas of every method, with the settings that made them."""
    manifest = next(iter(made_by.values()))
    settings = {
        key: manifest[key] for key in ("model", "model hash", "data", "threshold", "metrics", "seed", "versions")
    }
    settings["methods"] = {label: one["methods"][label] for label, one in made_by.items()}
    settings |= {key: {label: one[key] for label, one in made_by.items()} for key in ("pairs", "data hash")}
    settings["seconds a pair"] = {label: seconds[label] for label in made_by}
    save_table(table, DATA / "results" / f"methods_{setting}.parquet", settings)


def keep_patches(setting, patches, pairs, model, made_by):
    """Write the Patch test of some of the methods, with the settings that made it as the table's ``attrs``."""
    # the fixed orders come with each method
    patches = patches.drop_duplicates(["pair", "method"]).reset_index(drop=True)
    defaults = {key: signature(patched).parameters[key].default for key in ("patches", "side", "seed")}
    patches.attrs = {
        "model": model.name,
        "model hash": model_hash(model),
        "data": pairs.name,
        "pairs": len(pairs),
        "data hash": data_hash(pairs),
        "threshold": model.threshold,
        "methods": {label: made_by[label]["methods"][label] for label in PATCHED},
        "patch_test": defaults,
        "versions": made_by[PATCHED[0]]["versions"],
    }
    write_whole(
        DATA / "results" / f"patches_{setting}.parquet",
        lambda temporary: patches.to_parquet(temporary, compression="zstd"),
    )


if __name__ == "__main__":
    main()
