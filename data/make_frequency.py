"""Averages for the frequency notebooks: Parquet files in ``results/``, each with the settings that made it.

    python data/make_frequency.py orl
    python data/make_frequency.py lfw --lfw LFW --weights MOBILEFACENET.pt

A file that exists is kept: delete it to have it computed again. About 20 minutes for "orl", 10 for "lfw" on 2 cores.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch

import xfvlib as xfv
from xfvlib import frequency as fq
from xfvlib.conditions import morph, reduced
from xfvlib.evaluation import calibrate, embed_images, mean_interval, scores
from xfvlib.files import DATA, write_whole
from xfvlib.methods import embedding_of
from xfvlib.pairs import PairSet
from xfvlib.perturb import embed_versions

SEED = 0


def kept(name, settings, compute):
    """Compute a table unless its file exists, and store it with its settings."""
    path = DATA / "results" / f"{name}.parquet"
    if path.exists():
        return
    start = time.perf_counter()
    table = compute()
    table.attrs = settings | {"seed": SEED, "torch": torch.__version__, "seconds": round(time.perf_counter() - start)}
    write_whole(path, lambda temporary: table.to_parquet(temporary, index=False))
    print(f"{path.name}: {len(table)} rows, {table.attrs['seconds']} s", flush=True)


def mistakes_and_more(model, pairs, impostors):
    """PairSet of all genuine pairs, all false accepts and ``impostors`` other impostor pairs, drawn."""
    accepted = scores(model, pairs) >= model.threshold
    rest = np.flatnonzero(~pairs.labels & ~accepted)
    drawn = np.random.default_rng(SEED).choice(rest, min(impostors, len(rest)), replace=False)
    return pairs[np.sort(np.concatenate([np.flatnonzero(pairs.labels | accepted), drawn]))]


def local_influence(model, image, reference, regions, width):
    """Take each band out of one region of the image at a time and see what the cosine loses: where × which frequency.

    ``regions`` is ``{name: weights (H, W)}``; returns ``(R, B)``, > 0 where the region's band helped the match.
    """
    parts = fq.split_bands(image, width=width)
    whole, partner = (embedding_of(model, x)["embedding"] for x in (image, reference))
    without = [embed_versions(model, (image - x * parts).__getitem__, len(parts)) for x in regions.values()]
    return (whole - torch.stack(without)) @ partner


def averages(model, pairs, width):
    return average_influence(fq.influence_table(model, pairs, width=width))


def average_influence(table: pd.DataFrame) -> pd.DataFrame:
    """Mean influence of every band with its 95 % bootstrap interval over pairs, by outcome.

    Args:
        table: as from :func:`influence_table`; both sides of a pair are averaged.

    Returns:
        pandas table with columns ``outcome, band, mean, low, high, energy, pairs``; outcomes of fewer than two pairs
        are left out.

    Raises:
        ValueError: no outcome has two pairs, a pair is in the table twice, or NaN.
    """
    rows = []
    for outcome, some in table.groupby("outcome", observed=True):
        wide = some.groupby(["pair", "band"]).influence.mean().unstack()
        if len(wide) >= 2:
            found = {"outcome": outcome, "band": wide.columns}
            found |= zip(("mean", "low", "high"), mean_interval(wide, draws=1000))
            rows.append(pd.DataFrame(found).assign(energy=some.groupby("band").energy.mean().array, pairs=len(wide)))
    if not rows or table.duplicated(["pair", "side", "band"]).any():
        raise ValueError(f"{table.pair.nunique()} pairs; two pairs or more of an outcome are needed, and no rows twice")
    return pd.concat(rows, ignore_index=True)


def control(model, pairs, count, width, draws):
    """Influence of every band beside that of random frequencies of its energy, genuine pairs."""
    chosen, rows = pairs.draw(count, SEED), []
    for number, pair in enumerate(chosen[chosen.labels]):
        found = fq.frequency_influence(model, pair, width=width, control=draws, seed=SEED + number)
        for side, values, drawn in (("probe", found.a, found.control_a), ("reference", found.b, found.control_b)):
            columns = {
                "influence": values,
                "control": drawn.mean(dim=0),
                "spread": drawn.std(dim=0),
                "above": (drawn < values).float().mean(dim=0),
            }
            rows.append(
                pd.DataFrame(
                    {"pair": number, "side": side, "band": range(len(values))}
                    | {k: v.numpy() for k, v in columns.items()}
                )
            )
    return pd.concat(rows, ignore_index=True)


def deletion(model, pairs, count, width):
    """Cosine and energy while bands go; insertion in an order is deletion in the reverse order, read backwards."""
    rows = []
    for number, pair in enumerate(pairs.draw(count, SEED)):
        found = fq.frequency_influence(model, pair, width=width)
        sign = 1 if pair.same else -1
        for order in fq.BAND_ORDERS:
            order_a, order_b = (
                fq.order_bands(sign * values, order, seed=SEED + number) for values in (found.a, found.b)
            )
            for masked, other in (("one", None), ("both", order_b)):
                score, energy = fq.band_deletion_scores(model, pair, order_a, other, width=width)
                rows.append(
                    {
                        "pair": number,
                        "same": pair.same,
                        "order": order,
                        "masked": masked,
                        "scores": score,
                        "energy": energy,
                    }
                )
    return pd.DataFrame(rows)


def agreement(model, pairs, count, width):
    """Influence of every band by taking it out, and its estimates from gradients."""
    rows = []
    for number, pair in enumerate(pairs.draw(count, SEED)):
        found = {"masking": fq.frequency_influence(model, pair, width=width)}
        for groups in (1, 4, 16, 1000):
            found[f"{groups} groups" if groups < 1000 else "a group a band"] = fq.gradient_influence(
                model, pair, groups=groups, width=width
            )
        for side in ("a", "b"):
            columns = {way: getattr(f, side).numpy() for way, f in found.items()}
            rows.append(pd.DataFrame({"pair": number, "side": side, "band": range(len(found["masking"].a))} | columns))
    return pd.concat(rows, ignore_index=True)


def where(model, pairs, count, width):
    """Influence of every band in every region, one image masked; and of the whole band, to see whether the regions add
    up."""
    regions, rows = xfv.alignment.face_regions(model), []
    everywhere = {"whole": torch.ones(model.size)}
    for number, pair in enumerate(pairs.draw(count, SEED)):
        values = local_influence(model, pair.a, pair.b, regions | everywhere, width)
        for region, line in zip(regions | everywhere, values):
            rows.append(
                pd.DataFrame(
                    {
                        "pair": number,
                        "same": pair.same,
                        "region": region,
                        "band": range(len(line)),
                        "influence": line.numpy(),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def resolution(model, pairs, count, factors, width):
    """Influence of every band, high–low and low–low pairs, for the masked image's resolution; band −1 holds the scores
    of all pairs."""
    rows = []
    chosen = pairs.draw(count, SEED)
    high = embed_images(model, pairs)
    for factor in factors:
        small = PairSet(pairs.name, pairs.table, {name: reduced(pairs.image(name), factor) for name in pairs.names})
        low = embed_images(model, small)
        for number, row in enumerate(pairs.table.itertuples()):
            for kind, a, b in (("high–low", low, high), ("low–low", low, low)):
                rows.append((factor, kind, number, bool(row.same), -1, float(a[row.name_a] @ b[row.name_b])))
        for number, row in enumerate(chosen.table.itertuples()):
            prepared = fq.prepare_bands(model, small.image(row.name_a), width=width)
            for kind, other in (("high–low", high), ("low–low", low)):
                lost = fq.lost_by_band(prepared, {"embedding": other[row.name_b]})
                rows += [(factor, kind, number, bool(row.same), band, float(value)) for band, value in enumerate(lost)]
    return pd.DataFrame(rows, columns=["factor", "kind", "pair", "same", "band", "value"])


def morphs(model, pairs, share, photographs, width):
    """Pairs of a first photograph, or of its morph with somebody's first, and another photograph: score, influence and
    energy of bands.

    Every person is morphed with the most similar other one and with one drawn.
    """
    known = embed_images(model, pairs.all_pairs())
    people = sorted({name.split("/")[0] for name in known}, key=lambda person: int(person[1:]))
    first = torch.stack([known[f"{person}/1"] for person in people])
    alike = (first @ first.T).fill_diagonal_(-1).argmax(dim=1)
    drawn = np.random.default_rng(SEED).permutation(len(people))
    couples = {tuple(sorted((i, int(k)))) for i in range(len(people)) for k in (alike[i], drawn[i]) if i != k}
    suspects = [(i, i, pairs.image(f"{person}/1")) for i, person in enumerate(people)]
    suspects += [
        (i, k, morph(pairs.image(f"{people[i]}/1"), pairs.image(f"{people[k]}/1"), share)) for i, k in sorted(couples)
    ]
    names = {f"{person}/{j}" for person in people for j in range(2, 2 + photographs)}
    probes = {name: fq.prepare_bands(model, pairs.image(name), width=width) for name in names}
    rows = []
    for i, k, image in suspects:
        suspect = fq.prepare_bands(model, image, width=width)
        for who in sorted({i, k}):
            for name in (f"{people[who]}/{j}" for j in range(2, 2 + photographs)):
                trusted = probes[name]
                rows.append(
                    {
                        "morph": i != k,
                        "person": people[i],
                        "other": people[k],
                        "claimed": people[who],
                        "photograph": name,
                        "score": float(suspect["embedding"] @ trusted["embedding"]),
                        "suspect": fq.lost_by_band(suspect, trusted).numpy(),
                        "trusted": fq.lost_by_band(trusted, suspect).numpy(),
                        "energy_suspect": suspect["energy"].numpy(),
                        "energy_trusted": trusted["energy"].numpy(),
                    }
                )
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["orl", "lfw"])
    parser.add_argument("--lfw", help="folder of LFW in its official layout")
    parser.add_argument("--weights", help="checkpoint of a MobileFaceNet")
    given = parser.parse_args()
    if given.data == "orl":
        model = xfv.load_model()
        pairs = xfv.load_pairs("orl")
        everything = mistakes_and_more(model, pairs.all_pairs(), 2000)
    else:
        model = xfv.load_model(weights=given.weights)
        pairs = xfv.load_pairs("lfw", root=given.lfw, model=model)
        calibrate(model, pairs)
        everything = pairs.draw(150, SEED)
    where_from = {"model": model.name, "data": pairs.name, "threshold": model.threshold}

    def table(name, function, on=pairs, **settings):
        kept(f"{name}_{given.data}", where_from | settings, lambda: function(model, on, **settings))

    table("averages", averages, on=everything, width=2)
    table("deletion", deletion, count=60 if given.data == "orl" else 40, width=5)
    if given.data == "orl":
        table("morphs", morphs, share=0.5, photographs=3, width=5)
        table("resolution", resolution, count=60, factors=[1, 2, 4, 8, 16], width=5)
        table("control", control, count=20, width=5, draws=20)
        table("agreement", agreement, count=20, width=2)
        table("where", where, count=40, width=10)


if __name__ == "__main__":
    main()
