"""Tables for the frequency notebooks, ``results/frequency_….parquet``, each with the settings that made it.

    python data/make_frequency.py orl
    python data/make_frequency.py lfw --lfw LFW --weights MOBILEFACENET.pt

SFace on ORL, or a MobileFaceNet on LFW. Every row names both images of its pair, so that intervals can draw people
again. Influence of bands is a list in the order of the bands, DC first. A file that exists is kept: delete it to have
it computed again.
"""

import argparse
import time
from contextlib import suppress

import numpy as np
import pandas as pd
import torch

import xfvlib as xfv
from xfvlib import frequency as fq
from xfvlib.alignment import face_regions
from xfvlib.conditions import morph, reduced
from xfvlib.evaluation import calibrate, embed_images, scores
from xfvlib.files import DATA, write_whole
from xfvlib.interaction import matrix_of
from xfvlib.methods import embedding_of
from xfvlib.pairs import PairSet, person
from xfvlib.perturb import embed_versions

SEED = 0


def kept(path, settings, compute):
    """Compute a table unless its file exists, and store it with its settings; cosines to 0.0001."""
    if path.exists():
        return
    start = time.perf_counter()
    table = compute()
    table.attrs |= settings | {"seed": SEED, "torch": torch.__version__, "seconds": round(time.perf_counter() - start)}
    for name, cells in table.items():
        if isinstance(cells[0], (np.ndarray, torch.Tensor)):  # Parquet has lists of numbers, but no tables of them
            digits = 7 if "energy" in name else 4
            table[name] = [None if x is None else np.asarray(x, np.float32).ravel().round(digits) for x in cells]
    write_whole(path, lambda temporary: table.to_parquet(temporary, index=False, compression="zstd"))
    print(f"{path.name}: {len(table)} rows, {path.stat().st_size:,} bytes, {table.attrs['seconds']} s", flush=True)


def names(pair):
    return {"name_a": pair.name_a, "name_b": pair.name_b, "same": pair.same}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def influence(model, pairs, most, width):
    """Influence of every band, with the ``probe`` and with the ``reference`` masked: of each outcome among all pairs at
    most ``most`` pairs, drawn."""
    pairs, rng = pairs.all_pairs(), np.random.default_rng(SEED)
    outcomes = 2 * pairs.labels + (scores(model, pairs) >= model.threshold)
    drawn = [rng.permutation(np.flatnonzero(outcomes == one))[:most] for one in range(4)]
    found = fq.influence_table(model, pairs[np.sort(np.concatenate(drawn))], width=width)
    groups = found.groupby(["pair", "name_a", "name_b", "outcome", "score", "side"], observed=True)
    table = groups.influence.apply(lambda some: some.to_numpy()).unstack("side")
    table = table.rename(columns=str).reset_index().drop(columns="pair")
    table.attrs["energy"] = found.groupby("band").energy.mean().round(6).tolist()
    return table.assign(same=table.outcome.isin(["true accept", "false reject"]))


def cutoffs(model, pairs, count, cuts):
    """Cosine of every pair with what passes each cut-off, of the probe ("one") or of both images."""
    pairs, rows = pairs.draw(count, SEED), []
    whole = embed_images(model, pairs)
    for kind in fq.CUTOFFS:
        masks = torch.stack([fq.cutoff_mask(model.size, cut, kind) for cut in cuts])
        passed = {name: fq.masked_embeddings(model, pairs.image(name), masks) for name in pairs.names}
        for pair in pairs.table.itertuples():
            for masked, partner in (("one", whole[pair.name_b]), ("both", passed[pair.name_b])):
                values = (passed[pair.name_a] * partner).sum(dim=1)
                rows.append(names(pair) | {"kind": kind, "masked": masked, "scores": values})
    return pd.DataFrame(rows)


def controls(model, pairs, count, draws, width):
    """Genuine pairs: what is lost with each band of the probe, and with each control in its place, mean of the draws.

    Phases are swapped with photographs of others, and, "swapped, same", of the same person. ``taken`` is the share of
    all frequencies that a match of energy takes.
    """
    rows, rng, some = [], np.random.default_rng(SEED), pairs.draw(count, SEED)
    for number, pair in enumerate(some[some.labels]):
        prepared, partner = fq.prepare_bands(model, pair.a, width=width), embedding_of(model, pair.b)
        others = [name for name in pairs.names if name not in (pair.name_a, pair.name_b)]
        seeds, spared = range(draws * number, draws * (number + 1)), fq.band_masks(pair.a, width=width)
        masks = [fq.energy_matched_masks(pair.a, prepared["energy"], generator(seed), spared) for seed in seeds]
        sources = {kind: [*map(generator, seeds)] for kind in ("energy", "scrambled")}
        for kind, same in (("swapped", False), ("swapped, same", True)):
            known = [name for name in others if (person(name) == person(pair.name_a)) == same]
            sources[kind] = [pairs.image(name) for name in rng.permutation(known)[:draws]]
        changed = {"taken out": [prepared["without"]]}
        for kind, each in sources.items():
            how = kind.split(",")[0]
            changed[kind] = [fq.control_embeddings(model, pair.a, how, one, width=width) for one in each]
        about = names(pair) | {
            "energy": prepared["energy"],
            "taken": (torch.stack(masks) < 1).float().mean(dim=(0, 2, 3)),
        }
        for kind, each in changed.items():
            if each:  # some people have no third photograph
                lost = [fq.lost_by_band(prepared | {"without": one}, partner) for one in each]
                rows.append(about | {"kind": kind, "lost": torch.stack(lost).mean(dim=0)})
    return pd.DataFrame(rows)


def deletion(model, pairs, count, width):
    """Cosine and energy while bands go, in orders of the influence with as many images masked as lose bands.

    Of impostor pairs those against the match go first. Insertion in an order is deletion in the reverse order, read
    backwards.
    """
    rows = []
    for number, pair in enumerate(pairs.draw(count, SEED)):
        for masked in ("one", "both"):
            found = fq.frequency_influence(model, pair, masked=masked, width=width)
            for by in fq.BAND_ORDERS:
                order = fq.order_bands(found.a if pair.same else -found.a, by, seed=SEED + number)
                second = order if masked == "both" else None
                values, energy = fq.band_deletion_scores(model, pair, order, second, width=width)
                rows.append(names(pair) | {"order": by, "masked": masked, "scores": values, "energy": energy})
    return pd.DataFrame(rows)


def estimates(model, pairs, count, groups, width):
    """Influence of the probe's bands by taking them out, and its estimates from gradients along so many paths."""
    rows = []
    for pair in pairs.draw(count, SEED):
        ways = {"taken out": fq.frequency_influence(model, pair, width=width)}
        ways |= {f"{n} paths": fq.gradient_influence(model, pair, groups=n, width=width) for n in groups}
        rows += [names(pair) | {"way": way, "lost": found.a} for way, found in ways.items()]
    return pd.DataFrame(rows)


def local_influence(model, image, reference, regions, **bands):
    """Take each band out of one region of the image at a time and see what the cosine loses: where × which frequency.

    ``regions`` is ``{name: weights (H, W)}``; returns ``(R, B)``, > 0 where the region's band helped the match.
    """
    parts = fq.split_bands(image, **bands)
    whole, partner = (embedding_of(model, x)["embedding"] for x in (image, reference))
    without = [embed_versions(model, (image - x * parts).__getitem__, len(parts)) for x in regions.values()]
    return (whole - torch.stack(without)) @ partner


def regions(model, pairs, count, width):
    """Influence of every band in every region of the probe, whose ``area`` is a share of the picture; and of the whole
    band, to see whether the regions add up."""
    places, rows = face_regions(model) | {"whole": torch.ones(model.size)}, []
    for pair in pairs.draw(count, SEED):
        for (region, weights), lost in zip(places.items(), local_influence(model, pair.a, pair.b, places, width=width)):
            rows.append(names(pair) | {"region": region, "area": float(weights.mean()), "lost": lost})
    return pd.DataFrame(rows)


def boxes(model, pairs, count, edges, step):
    """Influence of the bands between the edges in boxes of the nose's size, of genuine pairs: the nose's own region,
    moved "down" and to the "right" by so many steps of ``step`` pixels."""
    nose, rows, some = face_regions(model)["nose"], [], pairs.draw(count, SEED)
    places = {
        (down, right): nose.roll((step * down, step * right), (0, 1)) for down in range(-3, 2) for right in range(-2, 3)
    }
    for pair in some[some.labels]:
        for (down, right), lost in zip(places, local_influence(model, pair.a, pair.b, places, edges=edges)):
            rows.append(names(pair) | {"down": down, "right": right, "lost": lost})
    return pd.DataFrame(rows)


def resolution(model, pairs, count, influenced, factors, width):
    """Cosine of ``count`` pairs of each kind, the probe reduced ("high–low") or both images.

    Of ``influenced`` of them also what is lost with each band of the reduced probe, and, high–low, the interaction of
    its bands with the whole reference's: ``matrix``, (B × B), row after row.
    """
    pairs, rows = pairs.draw(count, SEED), []
    high, some = embed_images(model, pairs), pairs.draw(influenced, SEED)
    whole = {name: fq.prepare_bands(model, pairs.image(name), width=width) for name in some.table.name_b}
    drawn = {*zip(some.table.name_a, some.table.name_b)}
    for factor in factors:
        small = PairSet("reduced", pairs.table, {name: reduced(pairs.image(name), factor) for name in pairs.names})
        low = embed_images(model, small)
        for pair in pairs.table.itertuples():
            probe = None
            if (pair.name_a, pair.name_b) in drawn:
                probe = fq.prepare_bands(model, small.image(pair.name_a), width=width)
            for kind, other in (("high–low", high), ("low–low", low)):
                score = float(low[pair.name_a] @ other[pair.name_b])
                lost = None if probe is None else fq.lost_by_band(probe, {"embedding": other[pair.name_b]})
                matrix = matrix_of(probe, whole[pair.name_b]) if probe and kind == "high–low" else None
                known = {"factor": factor, "kind": kind, "score": score, "lost": lost, "matrix": matrix}
                rows.append(names(pair) | known)
    return pd.DataFrame(rows).sort_values("lost", key=lambda x: x.isna(), kind="stable", ignore_index=True)


def morphs(model, pairs, share, photographs, width):
    """Photographs and morphs against later photographs of their people: score, influence and energy of bands.

    ``kind``: "bona fide", a first photograph; "self-morph", of the first two photographs of one person; "lookalike", of
    the first ones of a person and the most similar other; "random", of a person and one drawn.
    """
    known = embed_images(model, pairs.all_pairs())
    people = sorted({person(name) for name in known}, key=lambda who: int(who[1:]))
    first = torch.stack([known[f"{who}/1"] for who in people])
    alike, drawn = (
        (first @ first.T).fill_diagonal_(-1).argmax(dim=1),
        np.random.default_rng(SEED).permutation(len(people)),
    )
    couples = {tuple(sorted((i, int(k)))): "random" for i, k in enumerate(drawn) if i != k}
    couples |= {tuple(sorted((i, int(k)))): "lookalike" for i, k in enumerate(alike)}
    plans = [("bona fide", f"{who}/1", f"{who}/1") for who in people]
    plans += [("self-morph", f"{who}/1", f"{who}/2") for who in people]
    plans += [(kind, f"{people[i]}/1", f"{people[k]}/1") for (i, k), kind in sorted(couples.items())]
    later = range(3, 3 + photographs)
    trusted = {
        f"{who}/{j}": fq.prepare_bands(model, pairs.image(f"{who}/{j}"), width=width) for who in people for j in later
    }
    rows = []
    for kind, one, two in plans:
        with suppress(ValueError):  # no landmarks are found
            image = pairs.image(one) if one == two else morph(pairs.image(one), pairs.image(two), share)
            suspect = fq.prepare_bands(model, image, width=width)
            for claimed in sorted({person(one), person(two)}):
                for name in (f"{claimed}/{j}" for j in later):
                    found = {"name_a": one if one == two else f"{one} + {two}", "name_b": name, "kind": kind}
                    found |= {"person": person(one), "other": person(two), "claimed": claimed}
                    found["score"] = float(suspect["embedding"] @ trusted[name]["embedding"])
                    found["suspect"] = fq.lost_by_band(suspect, trusted[name])
                    found["trusted"] = fq.lost_by_band(trusted[name], suspect)
                    found |= {"energy_suspect": suspect["energy"], "energy_trusted": trusted[name]["energy"]}
                    rows.append(found)
    return pd.DataFrame(rows)


TABLES = {
    "influence": (influence, {"most": 1800, "width": 2}),
    "cutoffs": (cutoffs, {"count": 300, "cuts": [2, 4, 6, 8, 10, 12, 16, 20, 28, 40]}),
    "controls": (controls, {"count": 40, "draws": 3, "width": 5}),
    "deletion": (deletion, {"count": 30, "width": 5}),
    "regions": (regions, {"count": 40, "width": 10}),
    "boxes": (boxes, {"count": 40, "edges": [10, 20], "step": 20}),
    "resolution": (resolution, {"count": 300, "influenced": 40, "factors": [1, 2, 4, 8, 16], "width": 5}),
}
ORL_ONLY = {
    "estimates": (estimates, {"count": 8, "groups": [1, 4, 16, 28], "width": 2}),
    "morphs": (morphs, {"share": 0.5, "photographs": 3, "width": 5}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["orl", "lfw"])
    parser.add_argument("--lfw", help="folder of LFW in its official layout")
    parser.add_argument("--weights", help="checkpoint of a MobileFaceNet")
    given = parser.parse_args()
    model = xfv.load_model(weights=given.weights) if given.data == "lfw" else xfv.load_model()
    pairs = xfv.load_pairs("lfw", root=given.lfw, model=model) if given.data == "lfw" else xfv.load_pairs("orl")
    if given.data == "lfw":
        calibrate(model, pairs)
    about = {"model": model.name, "data": pairs.name, "threshold": model.threshold}
    for name, (function, settings) in (TABLES | (ORL_ONLY if given.data == "orl" else {})).items():
        path = DATA / "results" / f"frequency_{name}_{given.data}.parquet"
        kept(path, about | settings, lambda: function(model, pairs, **settings))  # noqa: B023


if __name__ == "__main__":
    main()
