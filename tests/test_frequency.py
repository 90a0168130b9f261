import make_frequency
import numpy as np
import pandas as pd
import pytest
import torch
from make_frequency import local_influence

import xfvlib as xfv
from xfvlib import frequency as fq
from xfvlib.conditions import reduced
from xfvlib.faithfulness import deletion_area


@pytest.fixture(scope="module")
def face(pairs):
    return pairs[0].a


NAN, INF = float("nan"), float("inf")
CHOICES = [{}, {"width": 7.5}, {"edges": [2, 9, 40]}, {"shape": "square", "width": 3}]


@pytest.mark.parametrize("bands", CHOICES, ids=str)
def test_bands_add_up_to_the_image(face, bands):
    parts = fq.split_bands(face, **bands)
    assert torch.allclose(parts.sum(0), face, atol=1e-5)
    assert torch.allclose(parts[0], face.mean(dim=(1, 2), keepdim=True).expand_as(face), atol=1e-5)


@pytest.mark.parametrize("bands", CHOICES, ids=str)
def test_masking_takes_out_what_splitting_gives(face, bands):
    parts = fq.split_bands(face, **bands)
    masked = fq.mask_bands(face, [1, 3], **bands)
    assert torch.allclose(masked, face - parts[1] - parts[3], atol=1e-5)


def test_every_frequency_has_one_band_and_its_mirror_the_same():
    for size in ((150, 150), (112, 112), (112, 96), (7, 9)):
        numbers = fq.band_numbers(size)
        assert (numbers == 0).sum() == 1 and numbers[0, 0] == 0
        assert sorted(set(numbers.flatten().tolist())) == list(range(int(numbers.max()) + 1))
        assert torch.equal(numbers, numbers.flip(0, 1).roll((1, 1), (0, 1)))


def test_rings_hold_the_floor_of_the_distance():
    numbers = fq.band_numbers((112, 112), width=4)
    for y, x in ((0, 3), (2, 3), (0, 4), (3, 5), (30, 40)):
        assert numbers[y, x] == np.hypot(y, x) // 4 + 1
    assert fq.band_numbers((150, 150)).max() + 1 == 76


def test_a_pure_wave_lives_in_its_ring():
    x = torch.arange(64) / 64
    wave = torch.cos(2 * torch.pi * 10 * x).expand(3, 64, 64)
    energy = fq.band_energy(wave)
    assert energy.argmax() == fq.band_numbers((64, 64))[0, 10] and energy.max() > 0.999
    assert energy.sum().item() == pytest.approx(1)


def test_influence_equals_a_plain_loop(tiny, crops):
    pair = xfv.Pair(*crops)
    found = fq.frequency_influence(tiny, pair, width=2)
    a, b = tiny.embed(crops)
    for k in range(len(found.a)):
        without = fq.mask_bands(pair.a, [k], width=2)
        assert found.a[k].item() == pytest.approx((a @ b - tiny.embed(without[None])[0] @ b).item(), abs=1e-6)
    both = fq.frequency_influence(tiny, pair, width=2, masked="both")
    assert torch.equal(both.a, both.b) and not torch.allclose(both.a, found.a)


def test_an_image_without_a_band_loses_nothing_by_it(tiny, crops):
    bare = fq.mask_bands(crops[0], [4]).clamp(0, 1)
    bare = fq.mask_bands(bare, [4])  # clipping puts a little back
    smooth = xfv.Pair((bare - bare.min()) / (bare.max() - bare.min()), crops[1])
    assert abs(fq.frequency_influence(tiny, smooth).a[4].item()) < 1e-5


@pytest.mark.parametrize(
    "bands, words",
    [
        ({"width": 0}, "width"),
        ({"width": -1}, "width"),
        ({"width": 80}, "at most 56"),
        *(({"width": width}, "width") for width in (NAN, INF, "x", None, [1], 1j, 0.5, 1e-9)),
        ({"edges": [3, 2]}, "increase"),
        ({"edges": [0, 2]}, "above 0"),
        ({"edges": [80]}, "at most 56"),
        *(({"edges": edges}, "increase") for edges in ([NAN], [1, NAN], [], [2, 2], "12", 5, [[1, 2]], ["a"], [1j])),
        ({"edges": [1, INF]}, "at most 56"),
        *(({"shape": shape}, "'ring'") for shape in ("disc", None, 5, ["ring"])),
    ],
)
def test_wrong_bands_are_refused_in_words(face, bands, words):
    with pytest.raises(ValueError, match=words):
        fq.split_bands(face, **bands)


WRONG_IMAGES = {
    "complex": lambda x: x + 0j,
    "NaN": lambda x: x * float("nan"),
    "uint8": lambda x: (x * 255).byte(),
    "ndarray": lambda x: x.numpy(),
    "shape": lambda x: x[0],
    "batch": lambda x: x[None],
    "empty": lambda x: x[:, :0],
    "nothing": lambda x: None,
}


@pytest.mark.parametrize("wrong", WRONG_IMAGES)
def test_wrong_images_are_refused_in_words(tiny, crops, wrong):
    image = WRONG_IMAGES[wrong](crops[0])
    for use in (
        fq.spectrum,
        fq.split_bands,
        fq.band_masks,
        fq.band_energy,
        lambda x: fq.mask_bands(x, [1]),
        lambda x: fq.keep_frequencies(x, torch.ones(20, 20)),
        lambda x: fq.energy_matched_masks(x, torch.ones(2) / 2, torch.Generator()),
        lambda x: fq.progressive_bands(x, [1], "deletion"),
        lambda x: fq.prepare_bands(tiny, x),
        lambda x: fq.masked_embeddings(tiny, x, torch.ones(1, 20, 20)),
    ):
        with pytest.raises((TypeError, ValueError), match=r"the image (is|has)"):
            use(image)


def test_images_of_other_floats_are_taken(tiny, crops):
    expected = fq.prepare_bands(tiny, crops[0], width=2)
    for image, close in ((crops[0].double(), 1e-5), (crops[0].half(), 5e-3)):
        found = fq.prepare_bands(tiny, image, width=2)
        assert all(found[key].dtype == torch.float32 for key in found)
        assert torch.allclose(found["without"], expected["without"], atol=close)


def test_a_black_image_has_no_energy_and_nothing_to_lose(tiny, crops):
    black = 0 * crops[0]
    assert torch.equal(fq.band_energy(black, width=2), torch.zeros(7))
    found = fq.frequency_influence(tiny, xfv.Pair(black, crops[1]), width=2, control=2)
    assert found.a.abs().max() < 1e-6 and found.control_a[:, 1:].isfinite().all()


@pytest.mark.parametrize(
    "given",
    [
        torch.ones(112, 112, dtype=bool),
        torch.full((20, 20), NAN),
        torch.full((20, 20), 2.0),
        -torch.ones(20, 20),
        torch.ones(20, 20) * 1j,
        torch.ones(20),
        torch.ones(1, 20),
        np.ones((20, 20)),
        None,
    ],
    ids=["size", "NaN", "2", "-1", "complex", "1-d", "row", "array", "none"],
)
def test_masks_that_do_not_fit_are_refused_in_words(crops, given):
    with pytest.raises(ValueError, match="does not fit"):
        fq.keep_frequencies(crops[0], given)


@pytest.mark.parametrize("removed", [[999], [-1], [NAN], [1.5], ["1"], "1", None, [True], [10**30], [[1]], [1, None]])
def test_bands_that_are_none_cannot_be_taken_out(crops, removed):
    with pytest.raises(ValueError, match="whole numbers of bands, 0 to 10"):
        fq.mask_bands(crops[0], removed)


def test_bands_are_taken_out_by_number_list_or_array(crops):
    expected = crops[0] - fq.split_bands(crops[0])[[1, 2]].sum(dim=0)
    for removed in ([1, 2], (2, 1, 1), np.array([1, 2]), torch.tensor([1, 2]), range(1, 3), [np.int64(1), 2]):
        assert torch.allclose(fq.mask_bands(crops[0], removed), expected, atol=1e-5)
    assert torch.equal(fq.mask_bands(crops[0], 1), fq.mask_bands(crops[0], [1]))
    assert torch.allclose(fq.mask_bands(crops[0], []), crops[0], atol=1e-6)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


REPHASED = {
    "scrambled": lambda image, chosen: fq.scramble_phases(image, chosen, random()),
    "swapped": lambda image, chosen: fq.swap_phases(image, chosen, image.flip(2)),
}


@pytest.mark.parametrize("change", REPHASED.values(), ids=REPHASED)
@pytest.mark.parametrize("size", [(112, 112), (21, 20)], ids=str)
def test_new_phases_leave_every_amplitude_and_all_other_bands_as_they_are(face, change, size):
    face = face[:, : size[0], : size[1]]
    masks = fq.band_masks(face, width=3)
    changed, before = change(face, masks), fq.spectrum(face)
    after = torch.fft.fft2(changed)
    assert changed.shape == (len(masks), *face.shape) and changed.dtype == torch.float32  # real pictures
    assert torch.allclose(after.abs(), before.abs().expand(after.shape), atol=2e-3)
    for band, mask in enumerate(masks):
        assert torch.allclose(after[band, :, ~mask], before[:, ~mask], atol=2e-3)
        moved = (after[band, :, mask] - before[:, mask]).abs() > 0.1 * before[:, mask].abs()
        assert moved.float().mean() > 0.5 if band else not moved.any()  # DC stays
    assert torch.equal(changed[1], change(face, masks[1]))


def test_scrambled_phases_are_uniform_and_the_same_in_all_colours(face):
    everywhere = torch.ones(112, 112, dtype=bool)
    coloured = face * torch.tensor([1.0, 0.5, 0.25])[:, None, None]
    first, second = (fq.scramble_phases(coloured, everywhere, random(seed)) for seed in (0, 1))
    assert torch.allclose(first[0] / 2, first[1], atol=1e-5) and not torch.allclose(first, second, atol=0.1)
    turned = (torch.fft.fft2(first) * fq.spectrum(coloured).conj())[0, :50].angle()
    assert abs(torch.polar(torch.ones_like(turned), turned).mean()) < 0.05


def test_phases_swapped_with_another_image_are_its_own_and_with_itself_nothing_changes(face, pairs):
    masks, other = fq.band_masks(face, width=5), pairs[40].a
    assert torch.allclose(fq.swap_phases(face, masks, face), face.expand(len(masks), 3, 112, 112), atol=1e-5)
    one = masks[2]
    turned = torch.fft.fft2(fq.swap_phases(face, one, other))[:, one] * fq.spectrum(other)[:, one].conj()
    assert (turned.real > 0.999 * turned.abs() - 1e-3).all()
    with pytest.raises(ValueError, match="one size"):
        fq.swap_phases(face, masks, other[:, :100])


def test_low_pass_and_high_pass_share_the_mean_and_nothing_else(face):
    for cutoff in (0, 3, 10, 55.5, 80):
        low, high = (fq.keep_frequencies(face, fq.cutoff_mask((112, 112), cutoff, kind)) for kind in fq.CUTOFFS)
        assert torch.allclose(low + high, face + face.mean(dim=(1, 2), keepdim=True), atol=1e-5)
    flat, sharp = (fq.cutoff_mask((112, 112), 0, kind) for kind in fq.CUTOFFS)
    assert flat.sum() == 1 and sharp.all()


def test_a_wave_at_the_cutoff_passes_low_and_not_high():
    x = torch.arange(64) / 64
    wave = 0.5 + 0.4 * torch.cos(2 * torch.pi * 10 * x).expand(3, 64, 64)
    for cutoff, kept in ((9.9, "high-pass"), (10, "low-pass"), (10.1, "low-pass")):
        for kind in fq.CUTOFFS:
            left = fq.keep_frequencies(wave, fq.cutoff_mask((64, 64), cutoff, kind))
            assert left.std().item() == pytest.approx(wave.std().item() if kind == kept else 0, abs=1e-5)


@pytest.mark.parametrize("cutoff", [-1, NAN, INF, "2", None, [1], True])
def test_cutoffs_that_are_none_are_refused_in_words(cutoff):
    with pytest.raises(ValueError, match="cutoff is .*at least 0"):
        fq.cutoff_mask((20, 20), cutoff, "low-pass")
    with pytest.raises(ValueError, match="'high-pass'"):
        fq.cutoff_mask((20, 20), 5, "up to")


def test_a_match_of_energy_spares_the_band_itself_or_does_not_exist(face):
    masks, energy = fq.band_masks(face, width=5), fq.band_energy(face, width=5)
    drawn = fq.energy_matched_masks(face, energy, random(), spared=masks)
    power = fq.spectrum(face).abs().square().sum(dim=0)
    gone = ((1 - drawn.square()) * power).sum(dim=(1, 2)) / power.sum()
    assert all((drawn[band][masks[band]] == 1).all() for band in range(len(masks)))
    exists = energy <= 1 - energy[0] - energy
    assert not exists[1] and exists[2:].all() and torch.allclose(gone[2:], energy[2:], atol=1e-5)
    assert gone[1] < energy[1]
    with pytest.raises(ValueError, match="what is spared"):
        fq.energy_matched_masks(face, energy, random(), spared=masks[:, :100])


def test_controls_are_what_they_say_on_a_plain_loop(tiny, crops):
    pair, masks = xfv.Pair(*crops), fq.band_masks(crops[0], width=2)
    others = crops.flip(0, 2)
    a, b = tiny.embed(crops)
    for kind, control, change in (
        ("swapped", others, lambda draw: fq.swap_phases(crops[0], masks, others[draw])),
        ("scrambled", None, lambda draw: fq.scramble_phases(crops[0], masks, random(7 + draw))),
    ):
        found = fq.frequency_influence(tiny, pair, width=2, control=2, control_kind=kind, others=control, seed=7)
        for draw in (0, 1):
            expected = a @ b - tiny.embed(change(draw)) @ b
            assert torch.allclose(found.control_a[draw, 1:], expected[1:], atol=1e-6)
            assert found.control_a[draw, 0].isnan() and found.control_b[draw, 0].isnan()
    same = fq.frequency_influence(tiny, pair, width=2, control=1, control_kind="swapped", others=crops[:1])
    assert same.control_a[0, 1:].abs().max() < 1e-5 < same.control_b[0, 1:].abs().max()


def test_a_control_that_does_not_exist_is_nan(tiny):
    x = torch.arange(20) / 20
    slow = 0.5 + 0.3 * torch.cos(2 * torch.pi * x).expand(3, 20, 20)
    slow = slow + 0.01 * torch.rand(3, 20, 20, generator=random())
    energy = fq.control_embeddings(tiny, slow, "energy", random(), width=2)
    assert energy[:2].isnan().all() and energy[2:].isfinite().all()
    assert fq.control_embeddings(tiny, slow, "scrambled", random(), width=2)[1:].isfinite().all()


def test_controls_without_what_they_need_are_refused_in_words(tiny, crops):
    pair = xfv.Pair(*crops)
    for options in (
        {"control": 2, "control_kind": "swapped"},
        {"control": 2, "control_kind": "swapped", "others": crops[:1]},
        {"control": 2, "others": crops},
        {"others": crops},
    ):
        with pytest.raises(ValueError, match="a photograph a draw"):
            fq.frequency_influence(tiny, pair, **options)
    with pytest.raises(ValueError, match="'scrambled'"):
        fq.frequency_influence(tiny, pair, control=1, control_kind="noise")
    for kind, source in (("swapped", random()), ("energy", crops[0]), ("scrambled", None)):
        with pytest.raises(TypeError, match="source is"):
            fq.control_embeddings(tiny, crops[0], kind, source)


def test_energy_matched_masks_take_just_that_energy_and_never_dc(face):
    energy = fq.band_energy(face, width=5)
    masks = fq.energy_matched_masks(face, energy, torch.Generator().manual_seed(0))
    power = fq.spectrum(face).abs().square().sum(dim=0)
    gone = ((1 - masks.square()) * power).sum(dim=(1, 2)) / power.sum()
    assert torch.allclose(gone[1:], energy[1:], atol=1e-5) and bool((masks[:, 0, 0] == 1).all())
    assert torch.equal(masks, masks.flip(1, 2).roll((1, 1), (1, 2)))
    left = fq.keep_frequencies(face, masks)
    assert torch.allclose(torch.fft.fft2(left).abs(), fq.spectrum(face).abs() * masks[:, None], atol=1e-2)


def test_control_is_drawn_as_often_as_asked_and_repeats_with_its_seed(tiny, crops):
    pair = xfv.Pair(*crops)
    one, two = (fq.frequency_influence(tiny, pair, width=2, control=20, seed=3) for _ in range(2))
    assert one.control_a.shape == (20, len(one.a)) and torch.equal(one.control_b[:, 1:], two.control_b[:, 1:])
    assert one.control_a[:, 0].isnan().all() and one.control_a[:, 1:].std(dim=0).min() > 0
    assert not torch.equal(
        one.control_a[:, 1:], fq.frequency_influence(tiny, pair, width=2, control=20).control_a[:, 1:]
    )


def test_gradient_estimate_becomes_exact_on_every_bands_own_path(tiny, crops):
    pair = xfv.Pair(*crops)
    exact = fq.frequency_influence(tiny, pair, width=2)
    errors = [
        (fq.gradient_influence(tiny, pair, groups=99, steps=steps, width=2).a[1:] - exact.a[1:]).abs().max()
        for steps in (1, 8, 64)
    ]
    assert errors[2] < errors[1] < errors[0] and errors[2] < 1e-3


def test_gradient_estimate_of_a_linear_score_is_exact_with_any_groups(crops):
    class Linear(xfv.FaceModel):
        def embed(self, images):  # a cosine that is linear in the pixels
            return super().forward(images)

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 5))
    model, pair = Linear(network, size=20), xfv.Pair(*crops)
    exact, estimate = (
        fq.frequency_influence(model, pair, width=2),
        fq.gradient_influence(model, pair, groups=2, width=2),
    )
    assert torch.allclose(estimate.a[1:], exact.a[1:], atol=1e-4) and torch.allclose(
        estimate.b[1:], exact.b[1:], atol=1e-4
    )


def test_regions_that_cover_the_image_lose_the_whole_band(tiny, crops):
    everywhere = torch.ones(20, 20)
    found = local_influence(tiny, *crops, {"all": everywhere, "none": 0 * everywhere}, width=2)
    assert torch.allclose(found[0], fq.frequency_influence(tiny, xfv.Pair(*crops), width=2).a, atol=1e-5)
    assert found[1].abs().max() < 1e-6


def test_table_equals_single_pairs_and_names_them(model, pairs):
    some = pairs[[0, 1, 2, 30, 31, 32]]
    table = fq.influence_table(model, some, width=15)
    row = table[(table.pair == 4) & (table.side == "reference")]
    assert torch.allclose(
        torch.tensor(row.influence.to_numpy()), fq.frequency_influence(model, some[4], width=15).b, atol=1e-5
    )
    assert {*zip(row.name_a, row.name_b)} == {(some[4].name_a, some[4].name_b)}
    assert (table[table.outcome == "true accept"].score >= model.threshold).all()


@pytest.mark.parametrize("by", fq.BAND_ORDERS)
def test_bands_go_and_come_one_by_one_and_insertion_is_deletion_backwards(face, by):
    values = fq.band_energy(face, width=20).neg()
    order = fq.order_bands(values, by)
    gone = fq.progressive_bands(face, order, "deletion", width=20)
    come = fq.progressive_bands(face, order[::-1], "insertion", width=20)
    assert torch.allclose(gone, come.flip(0), atol=1e-6) and sorted(order) == [1, 2, 3]
    assert torch.allclose(gone[0], face, atol=1e-5) and torch.allclose(
        gone[-1], face.mean(dim=(1, 2), keepdim=True).expand_as(face), atol=1e-5
    )
    assert torch.allclose(gone[1], fq.mask_bands(face, order[:1], width=20), atol=1e-5)


def test_orders_mean_what_they_say():
    values = torch.tensor([9.0, 0.1, 0.3, -0.2])
    orders = {by: fq.order_bands(values, by) for by in fq.BAND_ORDERS}
    assert orders["influence"] == [2, 1, 3] and orders["reverse"] == [3, 1, 2]
    assert orders["low first"] == [1, 2, 3] and orders["high first"] == [3, 2, 1]
    assert len({tuple(fq.order_bands(values, "random", seed)) for seed in range(20)}) > 1


def test_band_deletion_ends_with_faces_without_detail(tiny, crops):
    pair = xfv.Pair(*crops, same=True)
    order = fq.order_bands(torch.arange(11.0), "low first")
    scores, energy = fq.band_deletion_scores(tiny, pair, order, width=1)
    both, _ = fq.band_deletion_scores(tiny, pair, order, order, width=1)
    a, b = tiny.embed(crops)
    flat = tiny.embed(crops.mean(dim=(2, 3), keepdim=True).expand_as(crops))
    assert scores[0] == pytest.approx((a @ b).item(), abs=1e-6) and scores[-1] == pytest.approx(
        (flat[0] @ b).item(), abs=1e-5
    )
    assert both[-1] == pytest.approx((flat[0] @ flat[1]).item(), abs=1e-5)
    assert energy[0] == 0 and energy[-1] == pytest.approx(1) and (np.diff(energy) > 0).all()


def test_areas_do_not_depend_on_the_number_of_bands_and_average_to_the_accuracy():
    falling = np.linspace(1, 0, 1001)[None]
    assert fq.band_areas(falling, [True], 0.5)[0] == pytest.approx(
        fq.band_areas(falling[:, ::50], [True], 0.5)[0], abs=2.6
    )
    scores, labels = np.random.default_rng(0).random((9, 11)), np.arange(9) < 5
    _, area = deletion_area(scores, labels, 0.5)
    assert fq.band_areas(scores, labels, 0.5).mean() == pytest.approx(area)
    assert fq.band_areas(falling, [True], 0.5, share=np.linspace(0, 1, 1001)[None] ** 2)[0] == pytest.approx(
        25, abs=0.1
    )


def test_wrong_orders_kinds_and_groups_are_refused_in_words(tiny, crops):
    with pytest.raises(ValueError, match="'influence'"):
        fq.order_bands(torch.zeros(4), "best")
    with pytest.raises(ValueError, match="each of the bands 1 … 5 once"):
        fq.progressive_bands(crops[0], [1, 1], "deletion", width=2.5)
    with pytest.raises(ValueError, match="'deletion'"):
        fq.progressive_bands(crops[0], [1, 2, 3, 4, 5], "removal", width=2.5)
    pair = xfv.Pair(*crops)
    for name in ("groups", "steps", "batch"):
        for value in (0, -1, 1.5, NAN, "2", None, True):
            with pytest.raises(ValueError, match=f"{name} is .*whole number"):
                fq.gradient_influence(tiny, pair, **{name: value})
    for name in ("control", "seed", "batch"):
        for value in (-1, 1.5, NAN, "2", None, True):
            with pytest.raises(ValueError, match=f"{name} is .*whole number"):
                fq.frequency_influence(tiny, pair, **{name: value})
    with pytest.raises(ValueError, match="batch is 0"):
        fq.frequency_influence(tiny, pair, batch=0)
    with pytest.raises(ValueError, match="'both'"):
        fq.frequency_influence(tiny, pair, masked="none")
    with pytest.raises(TypeError, match="bands"):
        fq.frequency_influence(tiny, pair, bands=3)


@pytest.mark.parametrize("size", [20, None, "20", (20,), (20, 20, 3), (0, 5), (1, 1), (20.5, 20), (NAN, 20), (-3, 4)])
def test_sizes_that_are_none_are_refused_in_words(size):
    with pytest.raises(ValueError, match="size is"):
        fq.band_numbers(size)


@pytest.mark.parametrize("influence", [[], None, "abc", 5, torch.rand(2, 5), torch.full((5,), NAN), [0.1, NAN, 0.3]])
def test_influence_that_cannot_be_ordered_is_refused_in_words(influence):
    with pytest.raises(ValueError, match="influence is"):
        fq.order_bands(influence, "influence")


@pytest.mark.parametrize("order", [[1], [], [1, 1, 2], None, "abc", 5, range(11), [NAN] * 10, [[1]]])
def test_orders_that_lack_a_band_are_refused_in_words(tiny, crops, order):
    for use in (
        lambda: fq.progressive_bands(crops[0], order, "deletion"),
        lambda: fq.band_deletion_scores(tiny, xfv.Pair(*crops), order),
    ):
        with pytest.raises(ValueError, match="each of the bands 1 … 10 once"):
            use()


def test_areas_of_what_are_no_scores_are_refused_in_words():
    for scores, labels, threshold in (
        (np.full((4, 5), NAN), [1, 0, 1, 0], 0.5),
        (np.ones((0, 5)), [], 0.5),
        (np.ones(4), [1, 0, 1, 0], 0.5),
        (np.ones((4, 1)), [1, 0, 1, 0], 0.5),
        (np.ones((4, 5)), [1], 0.5),
        (np.ones((4, 5)), [None] * 4, 0.5),
        (np.ones((4, 5)), [1, 0, 1, 0], NAN),
    ):
        with pytest.raises(ValueError, match="needed"):
            fq.band_areas(scores, labels, threshold)
    with pytest.raises(ValueError, match="shares"):
        fq.band_areas(np.ones((4, 5)), [1, 0, 1, 0], 0.5, share=np.ones(4))


def test_options_may_be_numpy_numbers(tiny, crops):
    pair, expected = xfv.Pair(*crops), fq.frequency_influence(tiny, xfv.Pair(*crops), width=2, control=2, seed=1)
    numbers = {"control": np.int64(2), "seed": np.int64(1), "batch": np.int32(7), "masked": np.str_("one")}
    for width in (np.float32(2), np.int64(2)):
        found = fq.frequency_influence(tiny, pair, width=width, shape=np.str_("ring"), **numbers)
        assert torch.allclose(found.a, expected.a, atol=1e-6) and torch.allclose(
            found.control_b[:, 1:], expected.control_b[:, 1:], atol=1e-6
        )
    found = fq.gradient_influence(tiny, pair, groups=np.int64(3), steps=np.int16(2), batch=np.int64(4), width=2)
    assert torch.allclose(found.a[1:], fq.gradient_influence(tiny, pair, groups=3, steps=2, width=2).a[1:], atol=1e-6)
    edges = [np.array([2, 5]), np.array([2, 5], np.uint8), (2.0, 5.0), torch.tensor([2.0, 5.0])]
    assert all(torch.equal(fq.band_numbers((20, 20), edges=x), fq.band_numbers((20, 20), edges=[2, 5])) for x in edges)


def test_one_preparation_serves_every_partner_and_all_pairs_cost_as_many_as_images(tiny, tiny_pairs, monkeypatch):
    names = tiny_pairs.names[:10]
    rows = [(a, b, a[:2] == b[:2], -1) for i, a in enumerate(names) for b in names[i:]]
    pairs = xfv.PairSet("few", pd.DataFrame(rows, columns=["name_a", "name_b", "same", "fold"]), tiny_pairs.images)
    calls, prepare = [], fq.prepare_bands
    monkeypatch.setattr(
        fq.influence, "prepare_bands", lambda *given, **more: calls.append(1) or prepare(*given, **more)
    )
    table = fq.influence_table(tiny, pairs, width=2)
    assert len(pairs) == 55 and len(calls) == 10
    for number, side, outcome, found in (
        (number, side, some.outcome.iloc[0], torch.tensor(some.influence.to_numpy()))
        for (number, side), some in table.groupby(["pair", "side"], observed=True)
    ):
        pair = pairs[number]
        one = fq.frequency_influence(tiny, pair, width=2)
        assert torch.allclose(found, one.a if side == "probe" else one.b, atol=1e-6)
        decision = "accept" if one.score >= tiny.threshold else "reject"
        assert outcome == f"{str(pair.same == (decision == 'accept')).lower()} {decision}"


def test_the_influence_of_both_images_follows_from_their_preparations(tiny, crops):
    a, b = (fq.prepare_bands(tiny, crop, width=2, batch=5) for crop in crops)
    expected = fq.frequency_influence(tiny, xfv.Pair(*crops), width=2)
    assert torch.allclose(fq.lost_by_band(a, b), expected.a, atol=1e-6)
    assert torch.allclose(fq.lost_by_band(b, a), expected.b, atol=1e-6)


def test_what_is_no_set_of_pairs_has_no_table(tiny, tiny_pairs):
    for pairs in ([], tiny_pairs[[]], list(tiny_pairs[:2]), None):
        with pytest.raises(ValueError, match="a PairSet with a pair or more"):
            fq.influence_table(tiny, pairs)


def test_influence_of_models_without_threshold_or_gradients(tiny, tiny_pairs, crops):
    bare = xfv.FaceModel(tiny.network, size=20, differentiable=False)
    assert fq.frequency_influence(bare, xfv.Pair(*crops), width=2).a.shape == (7,)
    with pytest.raises(ValueError, match="no threshold"):
        fq.influence_table(bare, tiny_pairs[:2])
    with pytest.raises(TypeError, match="no gradients"):
        fq.gradient_influence(bare, xfv.Pair(*crops))


@pytest.mark.parametrize("kind, size", [("dlib", 150), ("arcface", 112)])
def test_face_regions_cover_every_pixel_once_and_hold_the_landmarks(kind, size):
    model = xfv.FaceModel(torch.nn.Flatten(), size=size, alignment=kind)
    regions = xfv.alignment.face_regions(model)
    assert torch.allclose(sum(regions.values()), torch.ones(size, size), atol=1e-5)
    faces = xfv.load_pairs("orl", model=model)
    photos = [(faces.image(name).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for name in faces.names[::40]]
    landmarks = np.mean([xfv.alignment.find_landmarks(photo) for photo in photos], axis=0)
    for name, (x, y) in zip(("eyes", "eyes", "nose", "mouth", "mouth"), landmarks.round().astype(int)):
        assert regions[name][y, x] > 0.5
    rows = [landmarks[:2, 1].mean(), landmarks[2, 1], landmarks[3:, 1].mean(), landmarks[1, 0] - landmarks[0, 0]]
    assert np.allclose(np.array(rows) / size, xfv.alignment.FEATURES[kind], atol=0.04)


def test_kept_influence_is_that_of_both_sides_of_each_outcome(tiny, tiny_pairs):
    table = make_frequency.influence(tiny, tiny_pairs, most=3, width=4)
    assert table.outcome.value_counts().max() <= 3 and len(table.attrs["energy"]) == len(table.probe[0])
    for row in table.itertuples():
        one = fq.frequency_influence(tiny, tiny_pairs.pair(row.name_a, row.name_b), width=4)
        assert np.allclose(row.probe, one.a, atol=1e-6) and np.allclose(row.reference, one.b, atol=1e-6)
        assert row.score == pytest.approx(one.score, abs=1e-6)
        assert row.same == (row.name_a[:2] == row.name_b[:2]) == (row.outcome in ("true accept", "false reject"))


def test_kept_cutoffs_are_scores_of_what_passes(tiny, tiny_pairs):
    table = make_frequency.cutoffs(tiny, tiny_pairs, count=2, cuts=[3, 40])
    assert len(table) == 2 * 2 * 4
    for row in table.itertuples():
        pair = tiny_pairs.pair(row.name_a, row.name_b)
        mask = fq.cutoff_mask((20, 20), 3, row.kind)
        a, b = (
            tiny.embed(fq.keep_frequencies(torch.stack([pair.a, pair.b])[0], mask)[None])[0],
            tiny.embed(pair.b[None])[0],
        )
        b = tiny.embed(fq.keep_frequencies(pair.b, mask)[None])[0] if row.masked == "both" else b
        assert row.scores[0].item() == pytest.approx((a @ b).item(), abs=1e-6)


def test_kept_controls_hold_every_kind_and_what_a_match_takes(tiny, tiny_pairs):
    table = make_frequency.controls(tiny, tiny_pairs, count=2, draws=2, width=4)
    kinds = ["taken out", "energy", "scrambled", "swapped", "swapped, same"]
    assert table.groupby(["name_a", "name_b"]).kind.apply(list).tolist() == [kinds, kinds] and table.same.all()
    for row in table[table.kind == "taken out"].itertuples():
        pair = tiny_pairs.pair(row.name_a, row.name_b)
        assert torch.allclose(row.lost, fq.frequency_influence(tiny, pair, width=4).a, atol=1e-6)
        assert row.taken[1:].min() > 0


def test_kept_deletion_follows_the_influence_of_as_many_masked_images(tiny, tiny_pairs):
    table = make_frequency.deletion(tiny, tiny_pairs, count=2, width=4)
    for row in table[table.order == "influence"].itertuples():
        pair = tiny_pairs.pair(row.name_a, row.name_b)
        lost = fq.frequency_influence(tiny, pair, masked=row.masked, width=4).a[1:]
        most = lost.max() if row.same else lost.min()
        assert row.scores[0] - row.scores[1] == pytest.approx(most.item(), abs=1e-5)


def test_kept_resolution_says_which_band_stands_in_for_which(tiny, tiny_pairs):
    table = make_frequency.resolution(tiny, tiny_pairs, count=3, influenced=2, factors=[1, 2], width=4)
    assert len(table) == 6 * 2 * 2 and table.lost.notna().sum() == 4 * 2 * 2 and table.matrix.notna().sum() == 4 * 2
    row = next(table[(table.factor == 2) & table.matrix.notna()].itertuples())
    pair = tiny_pairs.pair(row.name_a, row.name_b)
    probe = reduced(pair.a, 2)
    a, b = tiny.embed(torch.stack([probe, pair.b]))
    without_a, without_b = (
        tiny.embed(fq.mask_bands(x, band, width=4)[None])[0] for x, band in ((probe, 1), (pair.b, 2))
    )
    expected = a @ b - without_a @ b - a @ without_b + without_a @ without_b
    assert row.matrix[1, 2].item() == pytest.approx(expected.item(), abs=1e-6)
    assert row.lost[1].item() == pytest.approx((a @ b - without_a @ b).item(), abs=1e-6)


def test_kept_morphs_are_held_against_all_their_people(model, pairs):
    images = {f"s{who}/{number}": pairs.image(f"s{who}/{number}") for who in (1, 2, 5) for number in (1, 2, 3)}
    few = xfv.PairSet("few", [("s1/1", "s1/2", True, -1)], images)
    table = make_frequency.morphs(model, few, share=0.5, photographs=1, width=28)
    claims = table.groupby(["kind", "name_a"]).claimed.nunique()
    assert (claims[["bona fide", "self-morph"]] == 1).all() and (claims[["lookalike"]] == 2).all()
    assert table.kind.value_counts()[["bona fide", "self-morph"]].tolist() == [3, 3]
    row = table[table.name_a == "s2/1"].iloc[0]
    one = fq.frequency_influence(model, few.pair("s2/1", "s2/3"), width=28)
    assert row.score == pytest.approx(one.score, abs=1e-5) and torch.allclose(row.suspect, one.a, atol=1e-5)
    assert torch.allclose(row.trusted, one.b, atol=1e-5)
    score = table.groupby("kind").score.mean()
    assert score["bona fide"] > score["lookalike"] and score["self-morph"] > score["lookalike"]


def test_kept_estimates_stand_beside_what_they_estimate(tiny, tiny_pairs):
    table = make_frequency.estimates(tiny, tiny_pairs, count=1, groups=[1, 3], width=4)
    assert table.way.tolist() == ["taken out", "1 paths", "3 paths"] * 2
    one = fq.frequency_influence(tiny, tiny_pairs.pair(table.name_a[0], table.name_b[0]), width=4)
    assert torch.allclose(table.lost[0], one.a, atol=1e-6) and table.lost[1][0].isnan()


def test_kept_regions_cover_the_picture(tiny, tiny_pairs):
    table = make_frequency.regions(tiny, tiny_pairs, count=1, width=5)
    assert table[table.region != "whole"].groupby("name_a").area.sum().to_numpy() == pytest.approx(1, abs=1e-5)


def test_kept_boxes_hold_the_nose_as_the_regions_do(tiny, tiny_pairs):
    table = make_frequency.boxes(tiny, tiny_pairs, count=1, edges=[5], step=2)
    nose = table[(table.down == 0) & (table.right == 0)].set_index("name_a").lost
    regions = make_frequency.regions(tiny, tiny_pairs, count=1, width=5)
    assert len(nose) == 1 and len(table) == 25
    of_nose = regions[regions.region == "nose"].set_index("name_a").lost[nose.index[0]]
    assert torch.allclose(nose.iloc[0][:2], of_nose[:2], atol=1e-6)


def test_tables_are_computed_once_and_kept_with_their_settings(tiny, tiny_pairs, tmp_path):
    path = tmp_path / "frequency.parquet"
    compute = lambda: make_frequency.deletion(tiny, tiny_pairs, count=1, width=5)
    make_frequency.kept(path, {"width": 5}, compute)
    make_frequency.kept(path, {}, lambda: pytest.fail("it was computed again"))
    table = pd.read_parquet(path)
    assert table.attrs["width"] == 5 and np.allclose(np.stack(table.scores), np.stack(compute().scores), atol=6e-5)
