"""Make ``results/sweep_orl….parquet`` and ``.npz``: FGGB on the ORL protocol's 600 pairs, and on mistakes among 79,800.

Run from the project folder (three quarters of an hour on two cores; what was computed is kept in
``data/cache/sweep_orl``, and running again goes on from there):

    .venv/bin/python data/make_orl_sweep.py

What it makes: the tables, with the settings in their schema; average maps, since thousands of single ones are too large
to keep; and what gradients, forward passes and blocks cost on this machine. The costs are only as good as the machine
is quiet: ``--only costs`` measures them again, six minutes.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
import torch.nn.functional as F

import xfvlib as xfv
from xfvlib.faithfulness import WHERE_DECISIONS_FALL, save_table
from xfvlib.files import DATA, write_whole
from xfvlib.notebook import processor
from xfvlib.pairs import person
from xfvlib.sweep import connected, read_costs, read_maps

RESULTS, WORK = DATA / "results", DATA / "cache" / "sweep_orl"
BLOCK, COST_BLOCK, COST_PAIRS = 12, 3, 36
# what is to blame: the places that spoke for the match of a false accept, and against the match of a false reject
MISTAKES = [
    {"metric": metric, "pairs": pairs, "ranking": ranking, "masked": "probe"}
    for pairs, ranking in (("impostor", "similarity"), ("genuine", "dissimilarity"))
    for metric in ("deletion", "insertion")
]
OUTCOMES = {
    (True, True): "true accept",
    (True, False): "false reject",
    (False, True): "false accept",
    (False, False): "true reject",
}


def mistakes_of(model, pairs):
    """Mistakes among all pairs of the data set: every false reject, and of every two people who are confused the false
    accept of the highest score, since further ones of the same two people are no independent cases."""
    everything = pairs.all_pairs()
    table = everything.table.assign(score=xfv.scores(model, everything))
    wrong = table[(table.score >= model.threshold) != table.same].sort_values("score", ascending=False)
    couples = [" ".join(sorted(person(name) for name in two)) for two in zip(wrong.name_a, wrong.name_b)]
    return everything[
        sorted([*wrong.index[wrong.same], *wrong[~wrong.same].groupby(pd.Series(couples, wrong.index)).head(1).index])
    ]


def halves_of(model, pairs):
    """True accepts of two photographs 1–5, or of two photographs 6–10, of one person: two sets of pairs that share no
    photograph."""
    everything = pairs.all_pairs()
    same_half = [half(a) == half(b) for a, b in zip(everything.table.name_a, everything.table.name_b)]
    some = everything[everything.labels & same_half]
    return some[xfv.scores(model, some) >= model.threshold]


def half(name):
    return "1–5" if int(name.split("/")[1]) <= 5 else "6–10"


def swept(model, pairs, metrics, work, client):
    """Table of one sweep, and the settings that made it."""
    table = xfv.sweep(model, pairs, ["fggb"], metrics, out=work, client=client, block=BLOCK, maps="zarr", progress=True)
    manifest = json.loads((work / "manifest.json").read_text(encoding="utf8"))
    if metrics != "scores":
        table["scores"] = [np.round(scores, 5) for scores in table.scores]  # a third of the file
    return table, manifest


def add_maps(maps, table, work, key):
    """Add the maps of both images of every pair to the list ``maps[key(row)]``, unless the key, ``(kind, name)``, is
    None.

    Each is divided by its mean absolute value, so that every pair counts the same, and halved in size, which loses
    nothing of maps that are blurred by more than that.
    """
    for row in table.drop_duplicates("pair").itertuples():
        if key(row) is not None:
            for saliency in read_maps(work, "fggb", [row.pair])[0]:
                scaled = torch.from_numpy(saliency / np.abs(saliency).mean())
                maps[key(row)].append(F.avg_pool2d(scaled[None], 2)[0].numpy())


def save_averages(maps, path, settings):
    keys = sorted(maps)
    arrays = {
        "average": np.stack([np.mean(maps[key], axis=0) for key in keys]).astype(np.float16),
        "kind": np.array([kind for kind, _ in keys]),
        "name": np.array([name for _, name in keys]),
        "maps": np.array([len(maps[key]) for key in keys]),
        "settings": np.array(json.dumps(settings, ensure_ascii=False)),
    }

    def write(temporary):
        with temporary.open("wb") as file:  # numpy would add its own ending to the name
            np.savez_compressed(file, **arrays)

    write_whole(path, write)


def outcome(row, kept):
    """The mean that a pair's maps belong to, where its outcome is one of those ``kept``."""
    found = OUTCOMES[row.same, row.score >= row.threshold]
    return ("outcome", found) if found in kept else None


def half_of_person(row):
    return f"photographs {half(row.name_a)}", person(row.name_a)


def costs_of(model, pairs):
    """What the blocks of a sweep cost with each number of workers, alone on the machine, and the time of the whole.

    ``start`` is the time until workers stand ready; a small sweep warms them up before the timed one.
    """
    frames = []
    for count in (1, 2):
        start = time.perf_counter()
        with connected(workers=count) as client, tempfile.TemporaryDirectory() as folder:
            client.run(exec, "import xfvlib")  # as the first task does
            ready = time.perf_counter() - start
            xfv.sweep(
                model,
                pairs[: 2 * count],
                ["fggb"],
                WHERE_DECISIONS_FALL,
                out=Path(folder) / "warm",
                client=client,
                block=1,
            )
            start = time.perf_counter()
            xfv.sweep(
                model,
                pairs,
                ["fggb"],
                WHERE_DECISIONS_FALL,
                out=Path(folder) / "timed",
                client=client,
                block=COST_BLOCK,
            )
            took = time.perf_counter() - start
            frames.append(read_costs(Path(folder) / "timed").assign(workers=count, start=ready, wall=took))
            print(f"{count} workers: {took:.1f} s for {len(pairs)} pairs", flush=True)
    return pd.concat(frames, ignore_index=True)


def keep_costs(model, pairs, path):
    busy = psutil.cpu_percent(interval=5)
    table = costs_of(model, pairs)
    table.attrs = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "percent busy with other work": busy,
        "model": model.name,
        "torch": torch.__version__,
        "metrics": WHERE_DECISIONS_FALL,
        "block": COST_BLOCK,
        "genuine": int(pairs.labels.sum()),
    }
    write_whole(path, lambda temporary: table.to_parquet(temporary, index=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("maps", "costs"), help="tables and average maps, or costs; default: both")
    only = parser.parse_args().only
    model, pairs = xfv.load_model(), xfv.load_pairs("orl")

    if only != "costs":
        maps, settings = defaultdict(list), {}
        with connected() as client:
            for name, some, metrics, key in (
                (
                    "sweep_orl_mistakes",
                    mistakes_of(model, pairs),
                    MISTAKES,
                    partial(outcome, kept=("false accept", "false reject")),
                ),
                ("sweep_orl", pairs, WHERE_DECISIONS_FALL, partial(outcome, kept=("true accept", "true reject"))),
                ("sweep_orl_halves", halves_of(model, pairs), "scores", half_of_person),
            ):
                table, settings[name] = swept(model, some, metrics, WORK / name, client)
                if metrics != "scores":
                    save_table(table, RESULTS / f"{name}.parquet", settings[name])
                add_maps(maps, table, WORK / name, key)
                print(f"{name}: {table.pair.nunique()} pairs, {len(table)} rows", flush=True)
        save_averages(maps, RESULTS / "sweep_orl_maps.npz", settings)
    if only != "maps":
        first_fold = pairs[pairs.folds == 0]
        keep_costs(model, first_fold[np.linspace(0, 59, COST_PAIRS).astype(int)], RESULTS / "sweep_orl_costs.parquet")


if __name__ == "__main__":
    main()
