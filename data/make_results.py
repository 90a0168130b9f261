"""Make the tables of ``results/methods_…/``, every method on the ladder by deletion and insertion, one file each, and
``results/patch_test_….parquet``, the Patch test: SFace on ORL, or MobileFaceNet on LFW.

Run from the project folder (hours: ``--estimate`` says how many; what was computed is kept in ``build/results``, and
running again goes on from there):

    OMP_NUM_THREADS=1 .venv/bin/python data/make_results.py orl
    OMP_NUM_THREADS=1 .venv/bin/python data/make_results.py lfw --lfw folder/lfw --weights mobilefacenet.pt

Each method is a sweep of its own on the same pairs, so that a new method adds its file and leaves the others alone. A
file that exists is kept: delete it to have it computed again. The controls, which do not depend on the method, are one
more. ``--estimate`` prints what each will take, and ends.

Where decisions can fall: genuine pairs with the probe masked, impostor pairs with both images masked. All maps are
blurred alike; what blurs its map itself does not here. A pass of the network is what everything costs, so curves have
few steps, and the probes are few, one photograph of each person: what an image costs serves all its pairs.
"""

import argparse
import json
import time
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import xfvlib as xfv
from xfvlib.faithfulness import (
    MAPS,
    WHERE_DECISIONS_FALL,
    ladder,
    read_table,
    save_table,
    settings_of,
    sides_wanted,
    without_own_blur,
)
from xfvlib.faithfulness.curves import embed_each
from xfvlib.files import DATA, write_whole
from xfvlib.methods import Method, fggb
from xfvlib.pairs import person
from xfvlib.perturb import filled
from xfvlib.sanity import patch_test, patched
from xfvlib.sweep import connected, data_hash, model_hash, one_torch_thread

WORK = Path("build/results")
STEPS, BLUR = 4, 5
REFERENCES = 2  # of each probe, or more: one is its partner, another takes the partner's place
FILLS = ("black", "mean", "blur")
RUNGS = [which for which in MAPS if which != "other decision"]
# what the sign alone does, for methods whose maps of further partners cost little
SIGN = [{"map": "other decision", "blur": BLUR, "fill": "black"}]
UNBLURRED = [{"map": "own", "blur": 0, "fill": "black"}]
CLIMB = [{"map": which, "blur": BLUR, "fill": fill} for fill in FILLS for which in RUNGS] + UNBLURRED
OWN = [{"map": "own", "blur": BLUR, "fill": fill} for fill in FILLS] + UNBLURRED
# by how much blur the areas change, for some methods of each family
BLURRED = [{"map": "own", "blur": blur, "fill": "black"} for blur in (2, 8, 12)]
FROM_BLUR = "integrated gradients, from the blurred image"
AT_EVERY_BLUR = ("gradient", "xssab", "integrated_gradients", FROM_BLUR, "fggb", "occlusion")
AT_BOTH_SIGNS = ("fggb", "fggb, signed", "occlusion", "xface", "corrrise", "lime", FROM_BLUR)
PATCH_PAIRS = 40  # of each kind, for the Patch test
WAYS = {  # coarser than their defaults, so that a map takes about as long as its curves
    "minplus": {"quick": True, "tmax": 2},  # the full setting takes minutes a pair
    "fame": {"steps": 75},  # the least that the paper calls stable
    "xface": {"stride": 10},  # a quarter of the squares
    "corrrise": {"masks": 250},
    "lime": {"samples": 250},
    "integrated_gradients": {"steps": 20},
    "smoothgrad": {"samples": 20},
}
OTHERS = {
    FROM_BLUR: {"method": "integrated_gradients", "baseline": "blur", "steps": 10},
    "fggb, signed": {"method": "fggb", "gradient": "signed"},
}
OF_THE_PAIR = [{"map": which, "blur": BLUR, "fill": fill} for fill in FILLS for which in ("another partner", "own")]
MANIFEST = ("model", "model hash", "data", "data hash", "pairs", "threshold", "methods", "metrics", "seed", "versions")


def centred(prepared, partner):
    """FGGB without the mean of the channels, which is the same for every partner: its threshold at the pair's cosine,
    so that the weights sum to 0."""
    return fggb.finish(prepared, partner, threshold=float(prepared["embedding"] @ partner["embedding"]), blur=0)


def along_a_path(model, image, reference, *, threshold):
    """FGGB's weights on what every channel gains on the straight way from the blurred photograph, signed."""
    from captum.attr import IntegratedGradients  # here: captum imports matplotlib

    with torch.no_grad():
        weights = fggb.fggb_weights(*model.embed(torch.stack([image, reference])), threshold)
    ends = image[None], filled(image, "blur")[None]
    return IntegratedGradients(lambda x: model.embed(x) @ weights).attribute(*ends, n_steps=10)[0].sum(dim=0)


# further ways of FGGB's own idea, the channels: do their maps know the pair?
BEYOND = {
    "fggb, centred": Method(prepare=fggb.prepare, finish=centred, gradients=True),
    "fggb, along a path": Method(pair=along_a_path, gradients=True),
}


def setting(arguments):
    """Model, with its threshold, and pairs to draw from."""
    if arguments.setting == "orl":
        return xfv.load_model(), of_few_probes(xfv.load_pairs("orl"), arguments.pairs)
    if not (arguments.lfw and arguments.weights):
        raise SystemExit(
            "the setting lfw needs --lfw, the folder with pairs.txt and the photographs, and --weights, the checkpoint"
        )
    model = xfv.load_model(weights=arguments.weights)
    pairs = xfv.load_pairs("lfw", root=arguments.lfw, model=model)
    xfv.calibrate(model, pairs)
    return model, of_few_probes(pairs, arguments.pairs)


def of_few_probes(pairs, count, seed=0):
    """Pairs whose probes are few, since what an image costs serves all its pairs: one photograph of each of at most
    ``count`` people with its genuine pairs, two or more, and all impostor pairs of these photographs."""
    rng, photographs = np.random.default_rng(seed), pd.Series([*pairs.images])
    people = photographs.groupby(photographs.map(person)).agg(list)
    people = people[people.map(len) > REFERENCES].sample(frac=1, random_state=rng)[:count]
    size = 1 + max(REFERENCES, -(-count // len(people)))
    drawn = [sorted(rng.permutation(names)[:size], key=names.index) for names in people]  # in their order in all pairs
    everything, probes = pairs.all_pairs(), {names[0] for names in drawn}
    genuine = {frozenset([names[0], name]) for names in drawn for name in names[1:]}
    wanted = lambda a, b: frozenset([a, b]) in genuine or probes >= {a, b}
    return everything[[wanted(*both) for both in zip(everything.table.name_a, everything.table.name_b)]]


def metrics_of(label):
    """How the maps of one method, or the controls, are scored."""
    ways = OWN if label == "controls" else OF_THE_PAIR if label in BEYOND else CLIMB
    ways = ways + SIGN if label in AT_BOTH_SIGNS else ways
    ways = ways + BLURRED if label in AT_EVERY_BLUR else ways
    return [where | way | {"steps": STEPS} for way in ways for where in WHERE_DECISIONS_FALL]


def estimated(model, pairs, methods, path):
    """Seconds of one worker for each method, all its pairs together, from its maps of a genuine and of an impostor pair
    and the passes that its curves need; kept, so that a later run need not ask again."""
    known = json.loads(path.read_text()) if path.exists() else {}
    genuine, impostor = (pairs[int(np.flatnonzero(pairs.labels == same)[0])] for same in (True, False))
    with one_torch_thread():
        images = genuine.a.expand(16, -1, -1, -1)
        embed_each(model, images)
        start = time.perf_counter()
        embed_each(model, images)
        a_pass = (time.perf_counter() - start) / len(images)
        for label, given in methods.items():
            if label not in known:
                spent = []
                for pair in (genuine, genuine, impostor):  # the first time may import a package
                    start = time.perf_counter()
                    xfv.explain(model, pair, **given)
                    spent.append(time.perf_counter() - start)
                known[label] = round(sum(spent[1:]) / 4, 3)  # of one map
                write_whole(path, lambda temporary: temporary.write_text(json.dumps(known, indent=1)))
    table, found = pairs.table, {}
    masked = len({*table.name_a, *table.name_b[~table.same]})
    for label in ["controls", *methods]:
        settings = settings_of(metrics_of(label))
        # deletion and insertion with both ends known; maps of other partners cost a two-stage method nothing, but for
        # MinPlus, which searches again for each
        curves = len({(one["map"], one["blur"], one["fill"]) for one in settings}) * (2 if label == "controls" else 1)
        sides = sum(sides_wanted(settings, bool(same)) for same in pairs.labels)
        maps = len({one["map"] for one in settings} - {"mean", "another person"})
        staged = label != "controls" and xfv.METHODS[methods[label]["method"]]
        maps = masked if getattr(staged, "prepare", None) and label != "minplus" else sides * maps
        found[label] = sides * curves * 2 * (STEPS - 1) * a_pass + (maps * known[label] if staged else 0)
    return found, known, a_pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=("orl", "lfw"), help="SFace on ORL, or MobileFaceNet on LFW")
    parser.add_argument("--lfw", type=Path, help="folder with pairs.txt and the photographs")
    parser.add_argument("--weights", type=Path, help="checkpoint of the MobileFaceNet")
    parser.add_argument("--pairs", type=int, default=100, help="genuine pairs, and as many impostor pairs (100)")
    parser.add_argument("--methods", nargs="+", help="labels; all unless given")
    parser.add_argument("--work", type=Path, default=WORK, help="where to compute (build/results)")
    parser.add_argument("--estimate", action="store_true", help="print what it will take, and end")
    arguments = parser.parse_args()

    model, pairs = setting(arguments)
    every = without_own_blur({name: {"method": name} | WAYS.get(name, {}) for name in xfv.METHODS} | OTHERS)
    xfv.METHODS.update(BEYOND)
    if arguments.setting == "orl":  # asked on the default alone; LFW's kept families of comparisons are without them
        every |= {label: {"method": label} for label in BEYOND}
    methods = {label: every[label] for label in arguments.methods or every}
    many = pairs.draw(arguments.pairs)
    work = arguments.work / arguments.setting
    work.mkdir(parents=True, exist_ok=True)
    spent, known, a_pass = estimated(model, many, methods, work / "seconds.json")
    print(f"{len(many)} pairs, {len(many.names)} images, {1000 * a_pass:.0f} ms a pass; one worker, seconds × pairs:")
    for label, seconds in spent.items():
        print(f"  {label:45} {seconds / len(many):6.2f} × {len(many)} = {seconds / 60:6.1f} min")
    print(f"about {sum(spent.values()) / 60 / 2:.0f} minutes with two workers, and the Patch test", flush=True)
    if not arguments.estimate:
        with connected() as client:
            client.run(lambda: xfv.METHODS.update(BEYOND))
            make(arguments, model, many, methods, known, client, work)


def make(arguments, model, many, methods, seconds, client, work):
    """A sweep and a file of each method, and a Patch test but of those in ``BEYOND``, the quickest first."""
    results = DATA / "results"
    kept, patches_kept = results / f"methods_{arguments.setting}", results / f"patch_test_{arguments.setting}.parquet"
    kept.mkdir(exist_ok=True)
    fewer, tables, patches = many.draw(min(len(many) // 2, PATCH_PAIRS)), {}, {}
    for label in ["controls", *sorted(methods, key=seconds.get)]:
        given = {label: methods[label]} if label in methods else {}
        folder = work / label.replace(" ", "_").replace(",", "").replace("×", "x")
        path = kept / f"{folder.name}.parquet"
        if not path.exists():
            how = {"client": client, "block": 2, "progress": True, "out": folder, "controls": not given}
            table = xfv.sweep(model, many, given, metrics_of(label), **how)
            manifest = json.loads((folder / "manifest.json").read_text())
            settings = {key: manifest[key] for key in MANIFEST}
            save_table(slim(table), path, settings)
        tables[label], settings = read_table(path)
        if label not in BEYOND and not patches_kept.exists():
            folder.mkdir(exist_ok=True)
            patches[label] = kept_patch_test(model, fewer, given, folder)
    if {*xfv.METHODS} - {*BEYOND} <= {*patches}:
        numbered = pd.concat(patches.values()).assign(pair=lambda table: places_of(table, many))
        used = {label: methods[label] for label in patches if label in methods}
        keep_patches(patches_kept, numbered, fewer, model, used, settings["versions"])
    found = ladder(pd.concat(tables.values()))
    print(found[found.over == "another partner"].round(1).to_string())


def slim(table):
    """The table without what nothing reads: curves of other maps than the own ones, and reversed orders but the map of
    the other decision as it was."""
    turned = table.method.str.endswith(" reversed") & (table.method != "blob reversed") & (table["map"] == "own")
    table = table[~turned.fillna(False)].reset_index(drop=True)
    return table.assign(scores=table.scores.where(table["map"] == "own", None))


def kept_patch_test(model, pairs, methods, folder):
    """The Patch test of some methods, read where it was computed before."""
    path = folder / "patches.parquet"
    if not path.exists():
        found = patch_test(model, pairs, methods, blur=BLUR)
        write_whole(path, lambda temporary: found.to_parquet(temporary))
    return pd.read_parquet(path)


def places_of(table, many):
    """The number of each row's pair in ``many``: the Patch test of some of the pairs has numbers of its own."""
    places = {names: number for number, names in enumerate(zip(many.table.name_a, many.table.name_b))}
    return [places[names] for names in zip(table.name_a, table.name_b)]


def keep_patches(path, patches, pairs, model, methods, versions):
    """Write the Patch test of the methods, with the settings that made it as the table's ``attrs``."""
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
        "methods": methods,
        "patch_test": defaults | {"blur": BLUR},
        "versions": versions,
    }
    write_whole(path, lambda temporary: patches.to_parquet(temporary, compression="zstd"))


if __name__ == "__main__":
    main()
