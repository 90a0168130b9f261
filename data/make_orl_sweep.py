"""Make ``results/sweep_orl….parquet`` and ``.npz``: FGGB on the ORL protocol's 600 pairs, and on mistakes among all 79,800.

Run from the project folder, with the package zarr installed (a quarter of an hour on two cores; what was computed is kept in
``data/cache/sweep_orl``, and running again goes on from there):

    .venv/bin/python data/make_orl_sweep.py

What it makes: the tables, with the settings in their schema; average maps, since 1,200 single ones are too large to keep;
and what gradients, forward passes and blocks cost on this machine. The costs are only as good as the machine is quiet:
``--only costs`` measures them again, a few minutes.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
import torch.nn.functional as F

import xfvlib as xfv
from xfvlib.deletion import save_table
from xfvlib.files import DATA, write_whole
from xfvlib.pairs import person
from xfvlib.sweep import connected, read_costs, read_maps

BLOCK, COST_BLOCK = 12, 3
# an impostor pair with one image blackened is rejected anyway: only with both does its curve say something
PROTOCOL = [{"metric": metric, "pairs": pairs, "masked": masked}
            for pairs, masked in (("genuine", "probe"), ("impostor", "both")) for metric in ("deletion", "insertion")]  # fmt: skip
# what is to blame: the places that spoke for the match of a false accept, and against the match of a false reject
MISTAKES = [{"metric": metric, "pairs": pairs, "ranking": ranking, "masked": "probe"}
            for pairs, ranking in (("impostor", "similarity"), ("genuine", "dissimilarity"))
            for metric in ("deletion", "insertion")]  # fmt: skip
OUTCOMES = {(True, True): "true accept", (True, False): "false reject", (False, True): "false accept", (False, False): "true reject"}


def mistakes_of(model, pairs):
    """Mistakes among all pairs of the data set: every false reject, and of every two people who are confused the false accept of the
    highest score, since further ones of the same two people are no independent cases."""
    everything = pairs.all_pairs()
    table = everything.table.assign(score=xfv.scores(model, everything))
    wrong = table[(table.score >= model.threshold) != table.same].sort_values("score", ascending=False)
    couples = [" ".join(sorted(person(name) for name in two)) for two in zip(wrong.name_a, wrong.name_b)]
    return everything[sorted([*wrong.index[wrong.same], *wrong[~wrong.same].groupby(pd.Series(couples, wrong.index)).head(1).index])]


def swept(model, pairs, metrics, work, client):
    """Table of one sweep, and the settings that made it."""
    table = xfv.sweep(model, pairs, ["fggb"], metrics, out=work, client=client, block=BLOCK, maps="zarr", progress=True)
    manifest = json.loads((work / "manifest.json").read_text(encoding="utf8"))
    table["scores"] = [np.round(scores, 5) for scores in table.scores]  # a third of the file
    return table, manifest


class Averages:
    """Means of maps by kind and name, at half the size, which loses nothing of maps blurred by more than that.

    Every map is divided by its mean absolute value first, so that each pair counts the same.
    """

    def __init__(self):
        self.sums, self.counts = {}, {}

    def add(self, key, saliency):
        small = F.avg_pool2d(torch.from_numpy(saliency / np.abs(saliency).mean())[None], 2)[0].numpy()
        self.sums[key] = self.sums.get(key, 0) + small
        self.counts[key] = self.counts.get(key, 0) + 1

    def save(self, path, settings):
        keys = sorted(self.sums)
        arrays = {
            "average": np.stack([self.sums[key] / self.counts[key] for key in keys]).astype(np.float16),
            "kind": np.array([kind for kind, _ in keys]),
            "name": np.array([name for _, name in keys]),
            "maps": np.array([self.counts[key] for key in keys]),
            "settings": np.array(json.dumps(settings, ensure_ascii=False)),
        }

        def write(temporary):
            with open(temporary, "wb") as file:  # numpy would add its own ending to the name
                np.savez_compressed(file, **arrays)

        write_whole(path, write)


def add_maps(averages, table, work, outcomes):
    """Add the maps of both images of every pair: to its outcome's mean, and those of genuine pairs to the photographed person's."""
    for row in table.drop_duplicates("pair").itertuples():
        outcome = OUTCOMES[row.same, row.score >= row.threshold]
        for name, saliency in zip((row.name_a, row.name_b), read_maps(work, "fggb", [row.pair])[0]):
            if outcome in outcomes:
                averages.add(("outcome", outcome), saliency)
            if outcome == "true accept":  # two halves that share no photograph: do they show the same?
                half = "1–5" if int(name.split("/")[1]) <= 5 else "6–10"
                averages.add((f"photographs {half}", person(name)), saliency)


def costs_of(model, pairs, workers):
    """What the blocks of a sweep cost with each number of workers, alone on the machine, and the time of the whole.

    Workers are started and warmed up first; their start is timed on its own.
    """
    frames = []
    for count in workers:
        start = time.perf_counter()
        with connected(None, count, count) as client, tempfile.TemporaryDirectory() as folder:
            xfv.sweep(model, pairs[: 2 * count], ["fggb"], PROTOCOL, out=Path(folder) / "warm", client=client, block=1)
            started = time.perf_counter()
            xfv.sweep(model, pairs, ["fggb"], PROTOCOL, out=Path(folder) / "timed", client=client, block=COST_BLOCK)
            took = time.perf_counter() - started
            frames.append(read_costs(Path(folder) / "timed").assign(workers=count, start=started - start, wall=took))
            print(f"{count} workers: {took:.1f} s for {len(pairs)} pairs", flush=True)
    return pd.concat(frames, ignore_index=True)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def keep_costs(model, pairs, path, workers):
    busy = psutil.cpu_percent(interval=5)
    table = costs_of(model, pairs, workers)
    table.attrs = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "percent busy with other work": busy,
        "model": model.name,
        "torch": torch.__version__,
        "metrics": PROTOCOL,
        "block": COST_BLOCK,
        "genuine": int(pairs.labels.sum()),
    }
    write_whole(path, lambda temporary: table.to_parquet(temporary, index=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("maps", "costs"), help="tables and average maps, or costs; default: both")
    parser.add_argument("--every", type=int, default=1, help="take every n-th pair, for a trial (1)")
    parser.add_argument("--cost-pairs", type=int, default=36, help="pairs whose costs are measured, of the first fold (36)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; default: one a core")
    parser.add_argument("--out", type=Path, default=DATA / "results", help="folder of the results (data/results)")
    parser.add_argument("--work", type=Path, default=DATA / "cache" / "sweep_orl", help="folder of what is under way")
    given = parser.parse_args()
    model, pairs = xfv.load_model(), xfv.load_pairs("orl")

    if given.only != "costs":
        averages, settings = Averages(), {}
        with connected(None, given.workers, most=999) as client:
            for name, some, metrics, outcomes in (
                ("sweep_orl_mistakes", mistakes_of(model, pairs)[:: given.every], MISTAKES, ("false accept", "false reject")),
                ("sweep_orl", pairs[:: given.every], PROTOCOL, ("true accept", "true reject")),
            ):
                table, settings[name] = swept(model, some, metrics, given.work / name, client)
                save_table(table, given.out / f"{name}.parquet", settings[name])
                add_maps(averages, table, given.work / name, outcomes)
                print(f"{name}: {table.pair.nunique()} pairs, {len(table)} rows", flush=True)
        averages.save(given.out / "sweep_orl_maps.npz", settings)
    if given.only != "maps":
        some = pairs[pairs.folds == 0][np.linspace(0, 59, given.cost_pairs).astype(int)]
        keep_costs(model, some, given.out / "sweep_orl_costs.parquet", sorted({1, given.workers}))


if __name__ == "__main__":
    main()
