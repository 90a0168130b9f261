import base64
import io
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import xfvlib as xfv
from xfvlib import conditions, evaluation, frequency, live
from xfvlib.faithfulness import blob
from xfvlib.livepage import Sheet, by, figure, select


@pytest.fixture(scope="module")
def pair(tiny_pairs):
    return tiny_pairs[0]


@pytest.fixture(scope="module")
def others(tiny_pairs):
    """Pairs that share images: one, its reference with another partner, the other way round."""
    one, two = tiny_pairs[0], tiny_pairs[120]
    return [one, xfv.Pair(one.a, two.b, False, one.name_a, two.name_b), xfv.Pair(one.b, one.a, None, "x", "y")]


def given_in(shown):
    """What the page gives to its script, and the arrays in it."""
    given = json.loads(re.search(r"figureView\(root, (\{.*\})\)\);\n", shown.data)[1])
    steps = np.frombuffer(zlib.decompress(base64.b64decode(given["numbers"])), np.int8)
    numbers = np.cumsum(steps.astype(int)).astype(np.int8)
    maps = []
    for rows, columns, scale, start in given["maps"]:
        maps.append(scale * numbers[start : start + rows * columns].reshape(rows, columns).astype(float))
    return given, maps


def chosen(given, piece, *state):
    """The entry of a table at a state of the controls, as the script looks it up."""
    if not isinstance(piece, dict) or "by" not in piece:
        return piece
    counts = [len(control["options"]) for control in given["controls"]]
    return piece["of"][np.ravel_multi_index([state[k] for k in piece["by"]], [counts[k] for k in piece["by"]])]


def words(given, *state):
    """The sentence at a state of the controls."""
    said = []
    for piece in given["status"]:
        found = chosen(given, piece, *state)
        if isinstance(found, dict) and "line" in found:
            chart = given["charts"][0]
            found = chosen(given, chart["lines"][found["line"]]["y"], *state)[state[chart["at"]]]
        elif isinstance(found, dict):
            reached = chosen(given, found["reached"], *state) >= chosen(given, found["level"], *state)
            found = chosen(given, found["words"], *state)[reached]
        said.append(str(found))
    return "".join(said)


def picture(given, number):
    """A picture of the page, (H, W, 3) in [0, 1]."""
    sheet = given["sheet"]
    whole = PIL.Image.open(io.BytesIO(base64.b64decode(sheet["uri"].split(",")[1])))
    (high, wide), (h, w) = sheet["cell"], sheet["size"]
    y, x = high * (number // sheet["columns"]), wide * (number % sheet["columns"])
    return np.asarray(whole.crop((x, y, x + w, y + h))) / 255


def drawn(given, maps, panel, *state):
    """The map of a panel, as the script puts it together."""
    how = panel["map"]
    values = maps[chosen(given, how["first"], *state)]
    if "second" not in how:
        return values
    far = chosen(given, how["score"], *state) - chosen(given, how["level"], *state)
    return values + far * maps[chosen(given, how["second"], *state)]


def fields(saliency, side):
    size = [min(side, n) for n in saliency.shape]
    return nn.functional.interpolate(saliency[None, None].double(), size, mode="area")[0, 0].numpy()


def test_fggb_at_every_threshold_and_choice_is_the_librarys(tiny, others):
    given, maps = given_in(live.show_fggb_live(tiny, others))
    _, choices, steps = given["controls"]
    assert len(choices["options"]) == 5 and float(steps["options"][steps["start"]]) == tiny.threshold
    for p, c in np.ndindex(3, 5):
        options, lengths = live._CHOICES[choices["options"][c]], []
        for t in (5, steps["start"], len(steps["options"]) - 1):
            threshold = float(steps["options"][t])
            e = xfv.explain(tiny, others[p], threshold=threshold, **options)
            for panel, expected in zip(given["panels"][1::2], (e.map_a, e.map_b)):
                far = np.abs(drawn(given, maps, panel, p, c, t) - fields(expected, 1000)).max()
                known = [maps[chosen(given, panel["map"][part], p, c, t)] for part in ("first", "second")]
                assert far < 0.01 * max(np.abs(x).max() for x in known) * (1 + abs(e.score - threshold))
            share = (e.similarity_a + e.similarity_b).sum() / (e.map_a.abs() + e.map_b.abs()).sum()
            said = words(given, p, c, t)
            lengths.append((int(re.search(r"are (\d+) %", said)[1]), float(torch.stack([e.map_a, e.map_b]).norm())))
            assert abs(int(re.search(r"makes (\d+) %", said)[1]) - 100 * share) < 1
            decision = {True: "rightly ", False: "wrongly ", None: ""}[
                None if others[p].same is None else others[p].same == e.accepted
            ]
            assert said.startswith(decision + ("accepted" if e.accepted else "rejected"))
            assert f"cosine {e.score:.4f}, threshold {threshold:.4f}" in said
        percent, length = np.array(lengths).T
        assert percent / percent.max() == pytest.approx(length / length.max(), abs=0.03)
    assert len(given["maps"]) == 5 * 2 * 2 + 5 * 3  # S(cos) of two new pairs and Ḡ of three images, five choices each


def test_fggb_of_the_default_model_is_kept_in_28_fields(model, pairs):
    pair = pairs.pair("s20/1", "s20/5")
    given, maps = given_in(live.show_fggb_live(model, [pair], {"default": {}, "no blur": {"blur": 0}}))
    steps = [float(step) for step in given["controls"][2]["options"]]
    t = steps.index(0.7)
    for c, blur in enumerate((5, 0)):
        expected = xfv.METHODS["fggb"](model, pair.a, pair.b, threshold=0.7, blur=blur)
        kept = fields(expected, 28 if blur else 112)
        found = drawn(given, maps, given["panels"][1], 0, c, t)
        assert found.shape == kept.shape and np.abs(found - kept).max() < 0.02 * np.abs(kept).max()
    assert np.abs(picture(given, given["panels"][0]["photos"]["of"][0]) - pair.a[0, :, :, None].numpy()).mean() < 0.02


def test_error_rates_in_words_are_those_of_the_evaluation(tiny, tiny_pairs):
    scores, labels = xfv.scores(tiny, tiny_pairs), tiny_pairs.labels
    given, _ = given_in(live.show_threshold_live(scores, labels, 0.95, tiny_pairs))
    steps = [float(step) for step in given["controls"][0]["options"]]
    assert steps[given["controls"][0]["start"]] == 0.95 and len(steps) > 200
    assert min(scores) - 0.02 < steps[0] <= min(scores) and max(scores) <= steps[-1] < max(scores) + 0.02
    fmr, fnmr, known = evaluation.error_rates(scores, labels)
    mistakes = set()
    for k, threshold in enumerate(steps):
        right = evaluation.right_decisions(scores, labels, threshold)
        rates = [(~right)[kind].mean() for kind in (~labels, labels)]
        at = np.flatnonzero(known >= threshold)
        assert not len(at) or rates == pytest.approx([fmr[at[-1]], fnmr[at[-1]]])
        said = words(given, k)
        assert f"FMR {rates[0]:.2%}: {(~right)[~labels].sum():,} of {(~labels).sum():,} impostor" in said
        assert f"FNMR {rates[1]:.2%}: {(~right)[labels].sum():,} of {labels.sum():,} genuine" in said
        assert given["charts"][0]["marks"][k] == pytest.approx(threshold, abs=1e-4)
        shown = [given["panels"][n]["title"] for n in chosen(given, given["shown"], k)]
        for same in (True, False):
            wrong = np.flatnonzero(~right & (labels == same))
            nearest = wrong[np.argsort(np.abs(scores[wrong] - threshold), kind="stable")][:3]
            names = {" and ".join(tiny_pairs.table.loc[row, ["name_a", "name_b"]]) for row in nearest}
            kind = "same person" if same else "different people"
            assert {title.split("\n")[0] for title in shown if kind in title} == names
            mistakes |= names
    assert len(mistakes) > 20
    without, _ = given_in(live.show_threshold_live(scores, labels, 0.95))
    assert (
        without["sheet"] is None and without["panels"] == [] and words(without, 3) == words(given, 3).split(" The")[0]
    )


@pytest.mark.parametrize("impostors", [1, 9, 10, 100, 1000])
def test_the_lowest_rate_of_a_curve_is_not_drawn_at_zero(impostors):
    scores = np.linspace(0, 1, impostors + 1)
    given, _ = given_in(live.show_threshold_live(scores, scores == 1, 0.5))
    (zero, name), (lowest, _), *_ = given["charts"][1]["xticks"]
    assert name == "0" and given["charts"][1]["xrange"][0] == zero == pytest.approx(lowest / 10)
    assert zero < 1 / impostors <= 10 * zero and given["charts"][1]["xticks"][-1] == [1, "100 %"]


def test_gradients_under_noise_are_the_librarys(tiny, pair):
    blurs, levels = (0, 5), (0, 40)
    given, maps = given_in(live.show_gradients_live(tiny, pair, channels=(3,), levels=levels, blurs=blurs))
    noise = torch.randn(pair.a.shape, generator=torch.Generator().manual_seed(0)) / 255
    noisy = [xfv.Pair((pair.a + level * noise).clamp(0, 1), pair.b) for level in levels]
    assert len(given["controls"][0]["options"]) == 3
    expected = xfv.METHODS["gradient"](tiny, pair.a, pair.b)
    found = drawn(given, maps, given["panels"][2], 0, 0, 1)
    assert np.abs(found - expected.numpy()).max() < 0.01 * float(expected.abs().max())
    for s in range(3):
        own, held = (drawn(given, maps, panel, s, 0, 1) for panel in given["panels"][1:])
        said = float(re.search(r"correlate at (-?\d\.\d\d)", words(given, s, 0, 1))[1])
        assert said == pytest.approx(np.corrcoef(own.ravel(), held.ravel())[0, 1], abs=0.02)
        assert "correlate at 1.00" in words(given, s, 0, 0)
    mean = xfv.channel_gradients(tiny, pair.a).maps.mean(dim=0)
    assert np.allclose(drawn(given, maps, given["panels"][2], 2, 0, 0), mean, atol=0.01 * float(mean.max()))
    cosine = float(re.search(r"it was (-?\d\.\d+)", words(given, 0, 0, 1))[1])
    assert cosine == pytest.approx(xfv.explain(tiny, noisy[0], "gradient").score, abs=0.001)


def test_two_methods_side_by_side_say_their_rank_correlation(tiny, others):
    maps = {name: [xfv.METHODS[name](tiny, x.a, x.b, threshold=0.3) for x in others] for name in ("gradient", "fggb")}
    maps["blob"] = [blob(one.a) for one in others]
    given, found = given_in(live.show_methods_live(tiny, others, maps))
    names = given["controls"][0]["options"]
    assert names == [*maps] and [control["start"] for control in given["controls"]] == [0, 1, 0]
    every = np.array(
        [[[spearmanr(maps[x][p].flatten(), maps[y][p].flatten())[0] for p in range(3)] for y in names] for x in names]
    )
    for left, right, p in np.ndindex(3, 3, 3):
        said = [float(x) for x in re.findall(r"[+-]\d\.\d\d", words(given, left, right, p))]
        assert said == pytest.approx([every[left, right, p], every[left, right].mean()], abs=0.006)
        for panel, name in zip(given["panels"][1:3], (names[left], names[right])):
            expected = maps[name][p].numpy()
            assert np.abs(drawn(given, found, panel, left, right, p) - expected).max() < 0.01 * np.abs(expected).max()


def test_a_cutoff_shows_what_is_left_and_its_cosine(tiny, pair):
    cuts = [1, 4, 9]
    given, maps = given_in(live.show_cutoff_live(tiny, pair, np.array(cuts)))
    for (k, kind), (c, cutoff) in [(x, y) for x in enumerate(frequency.CUTOFFS) for y in enumerate(cuts)]:
        mask = frequency.cutoff_mask((20, 20), cutoff, kind)
        left = frequency.keep_frequencies(pair.a, mask)
        with torch.no_grad():
            score = float(tiny.embed(left[None])[0] @ tiny.embed(pair.b[None])[0])
        assert f"{kind} at {cutoff} cycles: cosine {score:.4f}" in words(given, k, c)
        assert given["charts"][0]["lines"][k]["y"][c] == pytest.approx(score, abs=1e-4)
        hidden = maps[chosen(given, given["panels"][2]["hidden"], k, c)]
        assert np.array_equal(hidden == 0, torch.fft.fftshift(mask))
        shown = picture(given, chosen(given, given["panels"][1]["photos"], k, c))
        assert np.abs(shown[..., 0] - left.mean(dim=0).clamp(0, 1).numpy()).mean() < 0.04
    whole, _ = given_in(live.show_cutoff_live(tiny, pair))
    assert whole["charts"][0]["marks"][-1] == 15  # half of the diagonal: nothing lies beyond


def test_resolution_and_morphs_show_their_cosines(model, pairs):
    pair, two = pairs.pair("s1/1", "s1/2"), pairs.pair("s5/1", "s5/2")
    given, maps = given_in(live.show_resolution_live(model, pair, (1, 4, 16)))
    for k, factor in enumerate((1, 4, 16)):
        score = xfv.explain(model, replace(pair, a=conditions.reduced(pair.a, factor)), "gradient").score
        assert f"1/{factor}, {112 // factor} pixels: cosine {score:.4f}" in words(given, k)
        assert (maps[chosen(given, given["panels"][2]["hidden"], k)] == 0).sum() == pytest.approx(
            (112 / factor) ** 2, rel=0.3
        )
    given, _ = given_in(live.show_morph_live(model, pair, two, steps=2))
    mixed = conditions.morph(pair.a, two.a, 0.5)
    with torch.no_grad():
        scores = (model.embed(torch.stack([pair.b, two.b])) @ model.embed(mixed[None])[0]).tolist()
    for name, score in zip(("s1/2", "s5/2"), scores):
        assert f"{'passes' if score >= model.threshold else 'fails'} as {name}, cosine {score:.4f}" in words(given, 1)
    assert [line["y"][1] for line in given["charts"][0]["lines"]] == pytest.approx(scores, abs=1e-4)


def test_a_page_asks_for_nothing_and_no_name_leaves_its_figure(tiny, pair):
    odd = replace(pair, name_a="</script><b>x", name_b='a & "b"')
    one, two = (live.show_cutoff_live(tiny, some, [2, 5]).data for some in (odd, pair))
    assert (
        one.count("</script>") == 1 and "<b>" not in one and not re.search(r"https?:(?!//www\.w3)|\bfetch\b|src=", one)
    )
    assert len({re.search("xfv-[0-9a-f]+", text)[0] for text in (one, two)}) == 2
    assert live.show_cutoff_live(tiny, odd, [2, 5]).data == one
    assert one.startswith("<div class=") and "<noscript>" in one


def test_equal_pictures_and_maps_are_kept_once():
    sheet, image = Sheet(), torch.rand(3, 10, 12)
    assert [sheet.picture(one) for one in (image, image.clone(), 1 - image, image)] == [0, 0, 1, 0]
    saliency = torch.rand(10, 10)
    given = (saliency, 28), (saliency, 28), (-saliency, 28), (saliency, 5)
    assert [sheet.signed(*one) for one in given] == [0, 0, 1, 2]
    mask = torch.rand(10, 12) > 0.5
    number = sheet.hidden(mask)
    given, maps = given_in(figure(sheet, "x", [select("s", ["1", "2"])], [], [by([0], ["one", "two"])]))
    assert np.array_equal(maps[number], mask) and np.allclose(maps[0], saliency, atol=0.01)
    assert np.allclose(maps[1], -saliency, atol=0.01) and maps[2].shape == (5, 5)
    assert np.abs(picture(given, 1)[..., 0] - (1 - image).mean(dim=0).numpy()).mean() < 0.1
    assert np.allclose(maps[2].mean(), saliency.mean(), atol=0.01)


BAD = {
    "no scores": (lambda m, p: live.show_threshold_live([], [], 0.5), "at least 1"),
    "one kind": (lambda m, p: live.show_threshold_live([0.5, 0.6], [True, True], 0.5), "of both kinds"),
    "threshold": (lambda m, p: live.show_threshold_live([0.5, 0.6], [True, False], 3), "in \\[−1, 1\\]"),
    "other pairs": (lambda m, p: live.show_threshold_live([0.5, 0.6], [True, False], 0.5, p), "190 pairs and 2 scores"),
    "channel": (lambda m, p: live.show_gradients_live(m, p[0], channels=[11]), "no channel 11"),
    "levels": (lambda m, p: live.show_gradients_live(m, p[0], levels=[4]), "two levels"),
    "no pairs": (lambda m, p: live.show_fggb_live(m, []), "0 pairs and 5 choices"),
    "no choices": (lambda m, p: live.show_fggb_live(m, [p[0]], {}), "1 pairs and 0 choices"),
    "a half": (lambda m, p: live.show_fggb_live(m, [p[0]], {"mine": {"part": "similarity"}}), "'mine' has a part"),
    "one method": (lambda m, p: live.show_methods_live(m, [p[0]], {"a": [torch.rand(20, 20)]}), "two methods"),
    "maps": (lambda m, p: live.show_methods_live(m, [p[0]], dict(a=[], b=[])), "one for each pair"),
    "no cut-offs": (lambda m, p: live.show_cutoff_live(m, p[0], []), "cutoffs are \\[\\]"),
    "no cut-off": (lambda m, p: live.show_cutoff_live(m, p[0], [0, 4]), "from 1 on"),
    "falling": (lambda m, p: live.show_resolution_live(m, p[0], [4, 2]), "that increase"),
    "too small": (lambda m, p: live.show_resolution_live(m, p[0], [1, 16]), "4 pixels or more"),
    "no step": (lambda m, p: live.show_morph_live(m, p[0], p[1], 0), "steps"),
    "no face": (lambda m, p: live.show_morph_live(m, p[0], p[1], 2), "face"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_shown_is_said(tiny, tiny_pairs, name):
    make, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        make(tiny, tiny_pairs)


def test_a_model_without_a_threshold_is_refused(tiny_pairs):
    bare, pair = xfv.FaceModel(nn.Flatten(), size=20, name="bare"), tiny_pairs[0]
    makers = (
        lambda: live.show_cutoff_live(bare, pair),
        lambda: live.show_resolution_live(bare, pair, [1, 2]),
        lambda: live.show_fggb_live(bare, [pair]),
        lambda: live.show_methods_live(bare, [pair], {name: [torch.rand(20, 20)] for name in "ab"}),
    )
    for make in makers:
        with pytest.raises(ValueError, match="no threshold"):
            make()
