"""The kept sweeps, of notebooks 7, 7b and 10."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import xfvlib as xfv
from xfvlib.faithfulness import FIXED_ORDERS, deletion_table, read_table, without_own_blur
from xfvlib.files import DATA
from xfvlib.methods import METHODS
from xfvlib.pairs import person
from xfvlib.sweep import data_hash, model_hash

RESULTS = DATA / "results"
TABLES = sorted(RESULTS.glob("methods_*/*.parquet"))


@pytest.fixture(params=["orl", "lfw"])
def setting(request, model, pairs, on_lfw):
    """Name, model and photographs of the kept comparisons of all methods."""
    if request.param == "orl":
        return "orl", model, pairs
    if on_lfw is None:
        pytest.skip("real samples are not at hand")
    return "lfw", *on_lfw


@pytest.mark.parametrize("name, count", [("sweep_orl", 600), ("sweep_orl_mistakes", 8)])
def test_tables_are_of_this_model_and_its_threshold(model, name, count):
    table, settings = read_table(RESULTS / f"{name}.parquet")
    assert settings["model"] == model.name and settings["model hash"] == model_hash(model)
    assert settings["threshold"] == model.threshold and (table.threshold == model.threshold).all()
    assert table.pair.nunique() == settings["pairs"] == count and table.error.isna().all()


def test_the_protocols_table_is_of_the_protocols_pairs_and_photographs(pairs):
    table, settings = read_table(RESULTS / "sweep_orl.parquet")
    assert settings["data hash"] == data_hash(pairs)
    kept = table.drop_duplicates("pair")[["name_a", "name_b", "same"]]
    listed = pairs.table[["name_a", "name_b", "same"]].iloc[table.pair.unique()]
    assert kept.to_numpy().tolist() == listed.to_numpy().tolist()


def test_every_mistake_is_one(model):
    table, _ = read_table(RESULTS / "sweep_orl_mistakes.parquet")
    assert ((table.score >= model.threshold) != table.same).all()
    once = table.drop_duplicates("pair")
    accepted = once[~once.same]
    people = {frozenset((person(a), person(b))) for a, b in zip(accepted.name_a, accepted.name_b)}
    assert once.same.sum() == 1 and len(accepted) == len(people) == 7


def test_a_kept_pair_is_what_is_computed_now(model, pairs):
    table, settings = read_table(RESULTS / "sweep_orl.parquet")
    numbers = [int(table.pair[table.same].iloc[0]), int(table.pair[~table.same].iloc[0])]
    now = deletion_table(model, pairs[numbers], ["fggb"], settings["metrics"])
    kept = pd.concat([table[table.pair == number] for number in numbers], ignore_index=True)
    assert now.method.tolist() == kept.method.tolist() and now.metric.tolist() == kept.metric.tolist()
    assert np.allclose(np.stack(now.scores), np.stack(kept.scores), atol=0.003)


def test_every_method_was_scored_on_the_same_pairs_of_few_probes(setting):
    name, model, pairs = setting
    tables, settings = zip(*(read_table(path) for path in TABLES if path.parent.name == f"methods_{name}"))
    assert {label for one in settings for label in one["methods"]} >= {*METHODS}
    for key, wanted in (("model hash", model_hash(model)), ("threshold", pytest.approx(model.threshold, abs=1e-4))):
        assert all(one[key] == wanted for one in settings)
    assert len({one["data hash"] for one in settings}) == 1
    listed = [table.drop_duplicates("pair").sort_values("pair")[["name_a", "name_b", "same"]] for table in tables]
    once = listed[0].reset_index(drop=True)
    assert all(one.reset_index(drop=True).equals(once) for one in listed)
    assert once.same.value_counts().to_dict() == {True: 100, False: 100}
    assert (once.same == (once.name_a.map(person) == once.name_b.map(person))).all()
    probes = pd.Series([*{*once.name_a, *once.name_b[~once.same]}])  # impostor pairs are among probes
    assert not probes.map(person).duplicated().any()
    assert {*once.name_a, *once.name_b} <= {*pairs.images}


def test_a_pair_of_the_comparison_is_what_is_computed_now(setting):
    name, model, pairs = setting
    for label in ("fggb", "xssab"):
        table, settings = read_table(RESULTS / f"methods_{name}" / f"{label}.parquet")
        first = table[(table.pair == 0) & (table["map"] == "own")]
        pair = pairs.pair(first.name_a.iloc[0], first.name_b.iloc[0])
        ways = [one for one in settings["metrics"] if one["map"] == "own" and one["blur"] == 5]
        now = deletion_table(model, [pair], settings["methods"], ways, threshold=settings["threshold"], controls=False)
        both = now.merge(first, on=["method", "metric", "ranking", "masked", "fill", "blur"], suffixes=("", "_kept"))
        assert len(both) == 6 and np.allclose(np.stack(both.scores), np.stack(both.scores_kept), atol=0.003)


def test_the_patch_test_is_of_the_same_pairs_and_begins_alike_for_every_method(setting):
    name, model, _ = setting
    kept = pd.read_parquet(RESULTS / f"patch_test_{name}.parquet")
    assert kept.attrs["model hash"] == model_hash(model)
    assert set(kept.groupby("method").size()) == {kept.attrs["pairs"]} == {80}
    assert {*kept.attrs["methods"], *FIXED_ORDERS} == {*kept.method} and {*METHODS} <= {*kept.method}
    assert kept.attrs["patch_test"]["blur"] == 5
    assert kept.attrs["methods"] == without_own_blur(kept.attrs["methods"])
    table, _ = read_table(RESULTS / f"methods_{name}" / "fggb.parquet")
    both = kept.merge(table.drop_duplicates("pair"), on=["pair", "name_a", "name_b"], suffixes=("", "_there"))
    assert len(both) == len(kept) and (both.same == both.same_there).all()
    assert (kept.groupby("pair")[["accepted", "donor", "same"]].nunique() == 1).all(axis=None)
    begins = np.stack(kept.scores)[:, 0]
    first = kept.groupby("pair").scores.transform(lambda some: some.iloc[0][0]).to_numpy(float)
    assert begins == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_pair_was_scored_by_every_setting_that_is_named(path):
    table, settings = read_table(path)
    assert table.error.isna().all()
    (label,) = settings["methods"] or [None]
    rows = table[table.method == label] if label else table[table.method.isin(FIXED_ORDERS)]
    assert not rows.duplicated(["pair", "method", "map", "metric", "masked", "fill", "blur"]).any()
    for way in settings["metrics"]:
        some = rows[(rows.metric == way["metric"]) & (rows.fill == way["fill"]) & (rows.blur == way["blur"])]
        some = some[(some.same == (way["pairs"] == "genuine")) & (some["map"] == way["map"])]
        # a partner who makes no pair of that decision is missing, which is rare
        assert some.groupby("method").size().min() >= (100 if way["map"] in ("own", "mean", "another person") else 90)
        assert (some.masked == way["masked"]).all() and (some.steps == way["steps"]).all()
        assert some.area.between(0, 100).all()


def test_average_maps_are_plain_arrays_of_whole_numbers_of_maps():
    kept = np.load(RESULTS / "sweep_orl_maps.npz", allow_pickle=False)
    assert kept["average"].shape == (len(kept["kind"]), 56, 56) and np.isfinite(kept["average"]).all()
    assert set(kept["kind"]) == {"outcome", "photographs 1–5", "photographs 6–10"}
    outcomes = dict(zip(kept["name"][kept["kind"] == "outcome"], kept["maps"][kept["kind"] == "outcome"]))
    mistakes, _ = read_table(RESULTS / "sweep_orl_mistakes.parquet")
    assert outcomes["false reject"] + outcomes["false accept"] == 2 * mistakes.pair.nunique()
    settings = json.loads(str(kept["settings"]))
    assert settings["sweep_orl"]["pairs"] == 600
    assert kept["maps"][kept["kind"] != "outcome"].sum() == 2 * settings["sweep_orl_halves"]["pairs"]


def test_an_average_map_is_what_is_computed_now(model, pairs):
    kept = np.load(RESULTS / "sweep_orl_maps.npz")
    row = read_table(RESULTS / "sweep_orl_mistakes.parquet")[0].query("same").iloc[0]  # the false reject, one pair
    e = xfv.explain(model, pairs.pair(row.name_a, row.name_b))
    now = torch.stack([F.avg_pool2d((x / x.abs().mean())[None], 2)[0] for x in (e.map_a, e.map_b)]).mean(dim=0)
    (average,) = kept["average"][kept["name"] == "false reject"].astype(float)
    assert np.corrcoef(now.flatten(), average.flatten())[0, 1] > 0.99


def test_costs_name_the_machine_and_add_up():
    costs = pd.read_parquet(RESULTS / "sweep_orl_costs.parquet")
    assert costs.attrs["processor"] and costs.attrs["cores"] >= 1 and costs.attrs["model"] == "sface"
    parts = costs[["reading", "embedding", "fggb", "scoring", "preparing"]].sum(axis=1)
    assert (parts <= costs.total * 1.01).all() and (costs.groupby("workers").pairs.sum().nunique()) == 1
