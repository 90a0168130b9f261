"""Is an interaction true? Parquet files in ``results/``, each with the settings that made it.

    python data/make_interaction.py orl
    python data/make_interaction.py dlib
    python data/make_interaction.py lfw --lfw LFW --weights MOBILEFACENET.pt

SFace on ORL, dlib's network on ORL, MobileFaceNet on LFW. A file that exists is kept: delete it to have it computed
again. About half an hour each on one core.
"""

import argparse
import time
from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

import xfvlib as xfv
from xfvlib.alignment import find_landmarks
from xfvlib.evaluation import scores
from xfvlib.files import DATA, write_whole
from xfvlib.interaction import interaction, matrix_of, places_of, prepare_places
from xfvlib.pairs import person
from xfvlib.perturb import embed_versions, filled
from xfvlib.sanity import cascading_randomisation, planted

SEED = 0


def kept(name, settings, compute):
    """Compute a table unless its file exists, and store it with its settings."""
    path = DATA / "results" / f"interaction_{name}.parquet"
    if path.exists():
        return
    start = time.perf_counter()
    table = compute()
    table.attrs = settings | {"seed": SEED, "torch": torch.__version__, "seconds": round(time.perf_counter() - start)}
    write_whole(path, lambda temporary: table.to_parquet(temporary, index=False))
    print(f"{path.name}: {len(table)} rows, {table.attrs['seconds']} s", flush=True)


def chosen_names(pairs, count):
    """Images of ``count`` people or more, two of each or three: those of drawn genuine pairs."""
    genuine = pairs[np.flatnonzero(pairs.labels)].table.sample(frac=1, random_state=SEED)
    genuine = genuine.assign(person=genuine.name_a.map(person)).groupby("person").head(2).head(count)
    return sorted({*genuine.name_a, *genuine.name_b})


def genuine_couples(names):
    return [(a, b) for a, b in combinations(names, 2) if person(a) == person(b)]


def without(model, image, weights):
    """Embeddings ``(K + 1, N)`` of an image while K places ``(K, H, W)`` go, one more each time."""
    left, blurred = torch.cat([torch.ones(1, *image.shape[1:]), (1 - weights).cumprod(dim=0)]), filled(image, "blur")
    return embed_versions(model, lambda some: torch.lerp(blurred, image, left[some, None]), len(left))


def planted_places(model, pairs, count):
    """The same piece of a third face in two places: does the strongest couple name both?"""
    rng, rows, places = np.random.default_rng(SEED), [], places_of(model)
    scale = model.size[0] / 112
    for pair in pairs.draw(count, SEED):
        people = {person(pair.name_a), person(pair.name_b)}
        donor = rng.choice([name for name in pairs.names if person(name) not in people])
        while True:  # places that "the same place" does not name
            u, v = rng.uniform(20, 92, (2, 2))
            if np.hypot(*(u - v)) >= 24:
                break
        clean = interaction(model, pair, places)
        i = interaction(model, planted(pair, pairs.image(donor), u * scale, v * scale), places)
        at = places.centres.numpy() / scale
        far_u, far_v = (np.hypot(*(at - spot).T) for spot in (u, v))
        known = {"name_a": pair.name_a, "name_b": pair.name_b, "same": pair.same, "donor": donor, "score": i.score}
        known |= {"chance": (far_u < 14).mean() * (far_v < 14).mean()}
        known |= dict(zip(("u_x", "u_y", "v_x", "v_y"), (*u, *v)))
        changed, alone = i.matrix - clean.matrix, i.a[:, None] + i.b
        for by, values in {"interaction": i.matrix, "change": changed, "each alone": alone}.items():
            r, s = divmod(int(values.argmax()), values.shape[1])
            # the share of couples below that of the two places: 1 where it is the strongest, 0.5 by chance
            above = (values < values[far_u.argmin(), far_v.argmin()]).double().mean()
            rows.append(known | {"by": by, "error_a": far_u[r], "error_b": far_v[s], "rank": float(above)})
    return pd.DataFrame(rows)


def moves_of(prepared):
    """What each place of each image moves the embedding by, ``{name: (K, N)}``."""
    return {name: (one["embedding"] - one["without"]).double() for name, one in prepared.items()}


def numbers_of(moves, name_a, name_b):
    """Sums over a pair's matrix, and over what is left of it beyond what a place does to everybody: from each move the
    mean move of the people who are not in the pair is taken off."""
    gone = {person(name_a), person(name_b)}
    others = [move for name, move in moves.items() if person(name) not in gone]
    usual = sum(others) / len(others)
    a, b = moves[name_a], moves[name_b]
    found = {}
    for beyond, matrix in {"": a @ b.T, " beyond": (a - usual) @ (b - usual).T}.items():
        sums = {"same place": matrix.trace(), "sum": matrix.sum(), "highest": matrix.max()}
        found |= {name + beyond: float(value) for name, value in sums.items()}
    return found


def pairs_of_images(names, prepared):
    """All pairs of some images: how alike their matrices are to the mean of other people's, and where they peak."""
    people, moves, kinds = np.array([person(name) for name in names]), moves_of(prepared), {}
    couples = list(combinations(range(len(names)), 2))
    matrices = torch.stack([matrix_of(prepared[names[j]], prepared[names[k]]).flatten() for j, k in couples]).numpy()
    whose = people[np.array(couples)]
    same, rows = whose[:, 0] == whose[:, 1], []
    for kind, some in (("genuine", same), ("impostor", ~same)):
        total, of_person = matrices[some].sum(axis=0), {}
        for who in sorted(set(people)):
            mine = some & (whose == who).any(axis=1)
            of_person[who] = matrices[mine].sum(axis=0)
        kinds[kind] = some, total, of_person
    for number, (j, k) in enumerate(couples):
        row = {"name_a": names[j], "name_b": names[k], "same": bool(same[number])}
        row["score"] = float(prepared[names[j]]["embedding"] @ prepared[names[k]]["embedding"])
        for kind, (some, total, of_person) in kinds.items():
            both = some & (whose == whose[number][0]).any(axis=1) & (whose == whose[number][1]).any(axis=1)
            gone = {*whose[number]}
            rest = total - sum(of_person[who] for who in gone) + (matrices[both].sum(axis=0) if len(gone) == 2 else 0)
            row[f"like {kind}"] = np.corrcoef(matrices[number], rest)[0, 1]
        rows.append(row | numbers_of(moves, names[j], names[k]))
    return pd.DataFrame(rows), matrices, same


def equal_scores(model, pairs, count, most=3):
    """False accepts among all pairs, at most three of any two people, and beside each the genuine pair of nearest
    score that is not taken yet, at most three of a person."""
    every = pairs.all_pairs()
    table = every.table[["name_a", "name_b", "same"]].assign(score=scores(model, every))
    couple = [frozenset(map(person, two)) for two in zip(table.name_a, table.name_b)]
    wrong = table.assign(couple=couple)[~table.same & (table.score >= model.threshold)]
    wrong = wrong.sample(frac=1, random_state=SEED).groupby("couple").head(most).drop(columns="couple").head(count)
    left, chosen, taken = table[table.same], [], Counter()
    for number, (_, row) in enumerate(wrong.iterrows()):
        free = left[left.name_a.map(lambda name: taken[person(name)] < most)]
        nearest = (free.score - row.score).abs().idxmin()
        chosen += [row.to_dict() | {"couple": number}, left.loc[nearest].to_dict() | {"couple": number}]
        taken[person(left.name_a[nearest])] += 1
        left = left.drop(nearest)
    chosen, places = pd.DataFrame(chosen), places_of(model)
    names = sorted({*chosen.name_a, *chosen.name_b})
    moves = moves_of({name: prepare_places(model, pairs.image(name), places) for name in names})
    found = [numbers_of(moves, *two) for two in zip(chosen.name_a, chosen.name_b)]
    return pd.concat([chosen, pd.DataFrame(found)], axis=1)


def landmarks(model, pairs, names, prepared):
    """Where each landmark of the probe is found in the reference, against the guess that it is where it was."""
    places, rows, scale = places_of(model), [], model.size[0] / 112
    at, found = places.centres.numpy() / scale, {}
    for name in names:
        try:
            found[name] = find_landmarks((255 * pairs.image(name)).round().byte().permute(1, 2, 0).numpy()) / scale
        except ValueError:
            print(f"no landmarks in the crop of {name}", flush=True)
    mirrored = [1, 0, 2, 4, 3]
    for a, b in genuine_couples(found):
        matrix = matrix_of(prepared[a], prepared[b]).numpy()
        for mark, (here, there) in enumerate(zip(found[a], found[b])):
            place = np.hypot(*(at - here).T).argmin()
            answer = at[matrix[place].argmax()]
            other = found[b][mirrored[mark]]
            rows.append(
                {
                    "name_a": a,
                    "name_b": b,
                    "landmark": ("left eye", "right eye", "nose", "left mouth", "right mouth")[mark],
                    "moved": np.hypot(*(here - there)),
                    "answer": np.hypot(*(answer - there)),
                    "answer mirrored": np.hypot(*(answer - other)),
                    "same place": np.hypot(*(at[place] - there)),
                    "same place mirrored": np.hypot(*(at[place] - other)),
                    "largest": matrix[place].max(),
                }
            )
    return pd.DataFrame(rows)


def deletion(model, pairs, names, prepared, most=8):
    """Cosine of genuine pairs while places of both images go: the strongest couples, or the strongest of each alone."""
    places, rng, rows = places_of(model), np.random.default_rng(SEED), []
    apart = torch.cdist(places.centres, places.centres) < 16 * model.size[0] / 112

    def first(values):
        left, order = values.clone(), []
        while len(order) < most:
            order.append(int(left.argmax()))
            left[apart[order[-1]]] = -torch.inf
        return order

    for name_a, name_b in genuine_couples(names):
        a, b, one, other = pairs.image(name_a), pairs.image(name_b), prepared[name_a], prepared[name_b]
        matrix = matrix_of(one, other)
        couples, left = [], matrix.clone()
        while len(couples) < most:  # each place of either image once
            r, s = divmod(int(left.argmax()), matrix.shape[1])
            couples.append((r, s))
            left[apart[r]], left[:, apart[s]] = -torch.inf, -torch.inf
        alone = [(x["embedding"] - x["without"]) @ y["embedding"] for x, y in ((one, other), (other, one))]
        drawn = [first(torch.from_numpy(rng.random(len(places.names)))) for _ in range(2)]
        orders = {"couples": zip(*couples), "each alone": map(first, alone), "random": drawn}
        for order, sides in orders.items():
            gone = [without(model, image, places.weights[list(some)]) for image, some in zip((a, b), sides)]
            scores = (gone[0] * gone[1]).sum(dim=1).numpy()
            rows.append({"name_a": name_a, "name_b": name_b, "order": order, "scores": scores})
    return pd.DataFrame(rows)


def randomisation(model, pairs, count):
    """Rank correlation with the trained network's matrix, and occlusion map, as its layers lose what they learnt."""
    places, rows = places_of(model, step=20, sigma=10), []
    for pair in [pair for pair in pairs.draw(count, SEED) if pair.same]:
        trained = interaction(model, pair, places)
        for number, (layer, network) in enumerate(cascading_randomisation(model, seed=SEED), 1):
            found = interaction(network, pair, places)
            alike = [
                spearmanr(getattr(trained, x).flatten(), getattr(found, x).flatten()).statistic for x in ("matrix", "a")
            ]
            rows.append(
                {
                    "name_a": pair.name_a,
                    "name_b": pair.name_b,
                    "layers": number,
                    "layer": layer,
                    "matrix": alike[0],
                    "occlusion": alike[1],
                }
            )
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["orl", "dlib", "lfw"])
    parser.add_argument("--lfw", help="folder of LFW in its official layout")
    parser.add_argument("--weights", help="checkpoint of a MobileFaceNet")
    parser.add_argument("--count", type=int, default=40, help="pairs of each test (40)")
    given = parser.parse_args()
    if given.data == "lfw":
        model = xfv.load_model(weights=given.weights)
        pairs = xfv.load_pairs("lfw", root=given.lfw, model=model)
        xfv.calibrate(model, pairs)
    else:
        model = xfv.load_model("dlib-resnet" if given.data == "dlib" else "sface")
        pairs = xfv.load_pairs("orl", model=model)
    where_from = {"model": model.name, "data": pairs.name, "threshold": model.threshold, "count": given.count}
    table = lambda name, function, *on: kept(f"{name}_{given.data}", where_from, lambda: function(model, pairs, *on))

    table("planted", planted_places, given.count // 4)
    table("equal", equal_scores, given.count // 2)
    names, places = chosen_names(pairs, given.count), places_of(model)
    prepared = {name: prepare_places(model, pairs.image(name), places) for name in names}
    table("landmarks", landmarks, names, prepared)
    table("deletion", deletion, names, prepared)
    found, matrices, same = pairs_of_images(names, prepared)
    kept(f"pairs_{given.data}", where_from, lambda: found)
    means = {"genuine": matrices[same], "impostor": matrices[~same]}
    rows = [
        {"kind": kind, "pairs": len(some), "mean": some.mean(axis=0).astype("float16")} for kind, some in means.items()
    ]
    kept(f"means_{given.data}", where_from, lambda: pd.DataFrame(rows))
    if given.data != "dlib":
        table("randomisation", randomisation, 4)


if __name__ == "__main__":
    main()
