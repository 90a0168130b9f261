"""The kept tables of notebooks 4b, 5, 6 and 8: of the recognisers they name, and what is computed now."""

import numpy as np
import pandas as pd
import pytest
import torch

import xfvlib as xfv
from xfvlib import frequency as fq
from xfvlib.alignment import face_regions
from xfvlib.conditions import morph, reduced
from xfvlib.files import DATA
from xfvlib.interaction import interaction

RESULTS = DATA / "results"
TABLES = sorted(path.stem for kind in ("frequency", "interaction") for path in RESULTS.glob(f"{kind}_*.parquet"))


@pytest.fixture(scope="module")
def settings_of(model, pairs, dlib_model, dlib_pairs, on_lfw):
    """Model and pairs of a table by the end of its name."""
    found = {"orl": (model, pairs), "dlib": (dlib_model, dlib_pairs), "lfw": on_lfw}
    return {end: both for end, both in found.items() if both}


def influence(model, pair, row, settings):
    return fq.frequency_influence(model, pair, width=settings["width"]).a, row.probe


def cutoffs(model, pair, row, settings):
    masks = torch.stack([fq.cutoff_mask(model.size, cut, row.kind) for cut in settings["cuts"]])
    a, b = (fq.masked_embeddings(model, image, masks) for image in (pair.a, pair.b))
    return (a * (b if row.masked == "both" else model.embed(pair.b[None]))).sum(dim=1), row.scores


def taken_out(model, pair, row, settings):
    return fq.frequency_influence(model, pair, width=settings["width"]).a, row.lost


def boxes(model, pair, row, settings):
    box = face_regions(model)["nose"].roll((settings["step"] * row.down, settings["step"] * row.right), (0, 1))
    without = model.embed(pair.a - box * fq.split_bands(pair.a, edges=settings["edges"]))
    return (model.embed(pair.a[None]) - without) @ model.embed(pair.b[None])[0], row.lost


def deletion(model, pair, row, settings):
    found = fq.frequency_influence(model, pair, masked=row.masked, width=settings["width"])
    order = fq.order_bands(found.a if row.same else -found.a, row.order)
    second = order if row.masked == "both" else None
    return fq.band_deletion_scores(model, pair, order, second, width=settings["width"])[0], row.scores


def resolution(model, pair, row, settings):
    other = reduced(pair.b, row.factor) if row.kind == "low–low" else pair.b
    a, b = (model.embed(image[None])[0] for image in (reduced(pair.a, row.factor), other))
    return (a @ b)[None], [row.score]


def sums(model, pair, row, settings):
    found = interaction(model, pair).matrix
    return torch.stack([found.trace(), found.sum(), found.max()]), row[["same place", "sum", "highest"]].tolist()


# each with the rows that another computation can be asked for
AGAIN = {
    "frequency_influence": (influence, {}),
    "frequency_cutoffs": (cutoffs, {}),
    "frequency_controls": (taken_out, {"kind": "taken out"}),
    "frequency_estimates": (taken_out, {"way": "taken out"}),
    "frequency_regions": (taken_out, {"region": "whole"}),
    "frequency_boxes": (boxes, {"down": -1, "right": 0}),
    "frequency_deletion": (deletion, {"order": "influence"}),
    "frequency_resolution": (resolution, {"factor": 4}),
    "interaction_equal": (sums, {}),
    "interaction_pairs": (sums, {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_kept_table_is_of_the_model_that_it_names_and_its_threshold(settings_of, name):
    kept = pd.read_parquet(RESULTS / f"{name}.parquet")
    if (where := name.rsplit("_", 1)[1]) not in settings_of:
        pytest.skip("real samples are not at hand")
    model, pairs = settings_of[where]
    assert kept.attrs["model"] == model.name and kept.attrs["data"].startswith(pairs.name.split()[0])
    assert kept.attrs["threshold"] == pytest.approx(model.threshold, abs=0.002)
    if "name_a" in kept and "morphs" not in name:
        assert {*kept.name_a, *kept.name_b} <= {*pairs.images}


@pytest.mark.parametrize("name", [name for name in TABLES if name.rsplit("_", 1)[0] in AGAIN])
def test_a_kept_row_is_what_is_computed_now(settings_of, name):
    kind, where = name.rsplit("_", 1)
    if where not in settings_of:
        pytest.skip("real samples are not at hand")
    (model, pairs), (compute, wanted) = settings_of[where], AGAIN[kind]
    kept = pd.read_parquet(RESULTS / f"{name}.parquet")
    for column, value in wanted.items():
        kept = kept[kept[column] == value]
    row = kept.iloc[len(kept) // 2]
    with torch.no_grad():
        now, before = compute(model, xfv.Pair(pairs.image(row.name_a), pairs.image(row.name_b)), row, kept.attrs)
    assert np.allclose(np.asarray(now), np.asarray(before, float), atol=0.003, rtol=0.003)


def test_a_kept_morph_is_what_is_computed_now(model, pairs):
    row = pd.read_parquet(RESULTS / "frequency_morphs_orl.parquet").query("kind == 'lookalike'").iloc[0]
    mixture = morph(*(pairs.image(name) for name in row.name_a.split(" + ")))
    a, b = (model.embed(image[None])[0] for image in (mixture, pairs.image(row.name_b)))
    assert float(a @ b) == pytest.approx(row.score, abs=0.003)
