import numpy as np
import pandas as pd
import pytest
import torch

import xfvlib as xfv
from xfvlib import sanity
from xfvlib.faithfulness import people_of, share_interval

THRESHOLD = 0.945


def test_similarity_of_maps_is_a_rank_correlation():
    one = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    assert sanity.map_similarity(one, 3 * one**3 - 1) == pytest.approx(1)
    assert sanity.map_similarity(one, -one) == pytest.approx(-1)
    assert np.isnan(sanity.map_similarity(one, torch.zeros(20, 20)))
    for other, words in (
        (one[:10], "real \\(20, 20\\)"),
        (one.flatten(), "a map is"),
        (torch.where(one > 0.9, torch.nan, one), "NaN"),
    ):
        for maps in ((one, other), (other, one)):
            with pytest.raises(ValueError, match="a map is"):
                sanity.map_similarity(*maps)
        with pytest.raises(ValueError, match=words):
            sanity.map_similarity(one, other)
    with pytest.raises(TypeError, match="tensor"):
        sanity.map_similarity(one, None)


def test_randomisation_goes_from_the_embedding_to_the_pixels_and_keeps_the_numbers(tiny):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    names = []
    for name, randomised in sanity.cascading_randomisation(tiny):
        names.append(name)
        for key, value in randomised.network.state_dict().items():
            trained = before[f"network.{key}"]
            assert torch.equal(value.flatten().sort().values, trained.flatten().sort().values)
            done = any(key.startswith(f"{layer}.") for layer in names)
            assert torch.equal(value, trained) != (done and value.numel() > 1)
    assert names == ["6", "2", "0"]
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


def test_maps_leave_with_the_weights(tiny, tiny_pairs):
    found = sanity.weight_randomisation(tiny, tiny_pairs[0], "gradient", threshold=THRESHOLD)
    assert found.layers.tolist() == [0, 1, 2, 3] and found.similarity[0] == 1
    assert found.similarity[3] < 0.3
    again = sanity.weight_randomisation(tiny, tiny_pairs[0], "gradient", threshold=THRESHOLD)
    assert found.equals(again)
    bare = xfv.FaceModel(torch.nn.Flatten(), size=20, threshold=0)
    with pytest.raises(ValueError, match="no weights"):
        sanity.weight_randomisation(bare, tiny_pairs[0])


@pytest.mark.parametrize("method", ["fggb", "gradient", "occlusion", "grad_cam"])
def test_forgetting_leaves_the_model_and_its_maps_alone(tiny, tiny_pairs, method):
    pair, options = tiny_pairs[0], {"layer": "3"} if method == "grad_cam" else {}
    weights = {name: value.clone() for name, value in tiny.state_dict().items()}
    before = xfv.METHODS[method](tiny, pair.a, pair.b, threshold=THRESHOLD, **options)
    sanity.weight_randomisation(tiny, pair, method, threshold=THRESHOLD, **options)
    assert all(torch.equal(value, weights[name]) for name, value in tiny.state_dict().items())
    assert torch.equal(xfv.METHODS[method](tiny, pair.a, pair.b, threshold=THRESHOLD, **options), before)


def test_unknown_methods_and_options_are_refused_in_words(tiny, tiny_pairs):
    pair = tiny_pairs[0]
    with pytest.raises(ValueError, match="'fggb'"):
        sanity.weight_randomisation(tiny, pair, "fgbg")
    with pytest.raises(TypeError, match="no option 'blurr'"):
        sanity.weight_randomisation(tiny, pair, "fggb", blurr=3)
    with pytest.raises(ValueError, match="threshold is"):
        sanity.weight_randomisation(tiny, pair, "fggb", threshold=7)


def test_patches_hold_the_donor_and_nothing_else_changes(crops):
    pair = xfv.Pair(*crops)
    image, places = sanity.patched(pair, crops[1], patches=5, side=28, seed=3)
    assert torch.equal(image[:, places], crops[1][:, places]) and torch.equal(image[:, ~places], crops[0][:, ~places])
    assert 25 <= places.sum() <= 5 * 25  # 28 pixels of 112 are 5 of 20
    again = sanity.patched(pair, crops[1], patches=5, side=28, seed=3)
    assert torch.equal(again[0], image) and not torch.equal(
        sanity.patched(pair, crops[1], patches=5, side=28, seed=4)[1], places
    )


def test_an_order_that_knows_the_places_puts_everything_right_first(tiny, tiny_pairs, monkeypatch):
    """An oracle marks a stranger's patches against a match and the partner's for it: perfect localisation, whatever was
    decided; where that was wrong, nothing is left of the error when the patches are gone."""

    def oracle(image, reference):
        name, original = next(
            (name, one) for name, one in tiny_pairs.images.items() if (one == image).all(dim=0).float().mean() > 0.3
        )
        partner = next(name for name, one in tiny_pairs.images.items() if torch.equal(one, reference))
        changed = (image != original).any(dim=0).float()
        return -changed if name[:2] == partner[:2] else changed

    monkeypatch.setitem(xfv.METHODS, "oracle", oracle)
    table = sanity.patch_test(tiny, tiny_pairs[::6], ["oracle", "gradient"], threshold=THRESHOLD, patches=12)
    assert len(table) == 32 * 5
    assert set(table.method) == {"oracle", "gradient", "random", "blob", "blob reversed"}
    by = dict(iter(table.groupby("method")))
    assert (by["oracle"].localisation == 1).all() and by["random"].localisation.mean() == pytest.approx(0.5, abs=0.02)
    wrong = (by["oracle"].accepted != by["oracle"].same).to_numpy()
    assert 3 <= wrong.sum() <= 29
    clean = xfv.scores(tiny, tiny_pairs[::6])
    assert np.allclose(np.stack(by["oracle"].scores)[wrong, -1], clean[wrong], atol=1e-6)
    start = np.array([scores[0] for scores in by["oracle"].scores])
    assert ((start >= THRESHOLD) == by["oracle"].accepted).all()
    assert (by["oracle"].donor[~by["oracle"].same] == by["oracle"].name_b[~by["oracle"].same]).all()
    genuine = by["oracle"][by["oracle"].same]
    assert (genuine.donor.str[:2] != genuine.name_a.str[:2]).all()


def test_rates_are_shares_of_wrong_decisions(tiny, tiny_pairs):
    table = sanity.patch_test(tiny, tiny_pairs[::6], ["gradient"], threshold=THRESHOLD)
    rates = sanity.patch_rates(table)
    assert len(rates) == 2 * 4 * 20
    rows = table[(table.method == "gradient") & ~table.same]
    at = rates[(rates.method == "gradient") & (rates.rate == "FMR") & (rates.fraction == 0.5)].iloc[0]
    assert at.value == pytest.approx(np.mean([scores[10] >= THRESHOLD for scores in rows.scores]))
    assert (
        at.low <= at.value <= at.high
        and at.pairs == len(rows)
        and at.people == len({*rows.name_a.str[:2], *rows.name_b.str[:2]})
    )
    # nobody is accepted or rejected for certain, and pairs of a few people are not many pairs
    certain = rates[rates.value.isin([0, 1])]
    assert len(certain) and (certain.high - certain.low > 1 / (1 + certain.people)).all()
    by_hand = share_interval([scores[10] >= THRESHOLD for scores in rows.scores], people_of(rows.name_a, rows.name_b))
    assert (at.value, at.low, at.high) == tuple(map(float, by_hand))


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"patches": 0}, "patches is 0"),
        ({"patches": 2.5}, "patches is 2.5"),
        ({"side": 120}, "smaller"),
        ({"side": 0}, "above 0"),
        ({"side": float("nan")}, "above 0"),
        ({"side": -3}, "above 0"),
        ({"patches": 500, "side": 56}, "whole image"),
        ({"donor": torch.zeros(3, 10, 10)}, "differ in size"),
        ({"donor": torch.full((3, 20, 20), 255.0)}, "outside"),
    ],
)
def test_patches_must_leave_something_and_cover_something(crops, wrong, words):
    with pytest.raises(ValueError, match=words):
        sanity.patched(xfv.Pair(*crops), **({"donor": crops[1]} | wrong))


def test_a_donor_of_another_person_is_needed(tiny, tiny_pairs):
    with pytest.raises(ValueError, match="another person"):
        sanity.patch_test(tiny, tiny_pairs[[0, 1, 2]], ["gradient"], threshold=THRESHOLD)
    for wrong in (list(tiny_pairs[::6]), tiny_pairs[:0], None):
        with pytest.raises(ValueError, match="PairSet with a pair or more"):
            sanity.patch_test(tiny, wrong, ["gradient"], threshold=THRESHOLD)
    for seed in (-1, 1.5, None, "3"):
        with pytest.raises(ValueError, match="seed is"):
            next(sanity.cascading_randomisation(tiny, seed=seed))


def test_rates_of_another_table_are_refused_in_words(tiny, tiny_pairs):
    table = sanity.patch_test(tiny, tiny_pairs[[2, 3, 40]], [], threshold=THRESHOLD)
    for wrong in (pd.DataFrame(), pd.DataFrame({"x": [1]}), None, table[:0]):
        with pytest.raises(ValueError, match="a table of patch_test is needed"):
            sanity.patch_rates(wrong)
    with pytest.raises(ValueError, match=r"True .genuine. and False"):
        sanity.patch_rates(table.assign(same=None))
    with pytest.raises(ValueError, match="two pairs or more"):
        sanity.patch_rates(table)
    with pytest.raises(ValueError, match="draws is 0"):
        sanity.patch_rates(pd.concat([table, table]), draws=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_the_gpu_is_tested_with_pairs_on_the_cpu(tiny, tiny_pairs):
    from copy import deepcopy

    model, pair = deepcopy(tiny).to("cuda"), tiny_pairs[0]
    table = sanity.patch_test(model, tiny_pairs[::6], ["fggb", "occlusion"], threshold=THRESHOLD)
    assert all(isinstance(scores, np.ndarray) for scores in table.scores)
    assert len(sanity.weight_randomisation(model, pair, threshold=THRESHOLD)) == 4


def test_a_blur_of_all_maps_is_that_of_the_method_which_blurs_its_own(tiny, tiny_pairs):
    def of_fggb(own, alike):
        methods = {"fggb": {"method": "fggb", "blur": own}}
        table = sanity.patch_test(tiny, tiny_pairs[::6], methods, threshold=THRESHOLD, blur=alike)
        return table[table.method == "fggb"]

    own, alike, sharp = of_fggb(3, 0), of_fggb(0, 3), of_fggb(0, 0)
    assert np.allclose(own.localisation, alike.localisation) and not np.allclose(own.localisation, sharp.localisation)
    assert np.allclose(np.stack(own.scores), np.stack(alike.scores))
    with pytest.raises(ValueError, match="blur"):
        sanity.patch_test(tiny, tiny_pairs[::6], ["fggb"], threshold=THRESHOLD, blur=-1)
