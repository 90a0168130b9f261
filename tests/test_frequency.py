import numpy as np
import pytest
import torch

import xfvlib as xfv
from xfvlib import frequency as fq
from xfvlib.conditions import morph, reduced
from xfvlib.faithfulness import deletion_area


@pytest.fixture(scope="module")
def face(pairs):
    return pairs[0].a


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
    influence = fq.frequency_influence(tiny, pair, width=2)
    a, b = tiny.embed(crops)
    for k in range(len(influence.a)):
        without = fq.mask_bands(pair.a, [k], width=2)
        assert influence.a[k].item() == pytest.approx((a @ b - tiny.embed(without[None])[0] @ b).item(), abs=1e-6)
    both = fq.frequency_influence(tiny, pair, width=2, masked="both")
    assert torch.equal(both.a, both.b) and not torch.allclose(both.a, influence.a)


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
        ({"width": 80}, "at most 75"),
        ({"edges": [3, 2]}, "increase"),
        ({"edges": [0, 2]}, "above 0"),
        ({"edges": [80]}, "at most 75"),
        ({"shape": "disc"}, "'ring'"),
    ],
)
def test_wrong_bands_are_refused_in_words(face, bands, words):
    with pytest.raises(ValueError, match=words):
        fq.split_bands(face, **bands)


def test_wrong_images_are_refused_in_words(face, tiny, crops):
    with pytest.raises(ValueError, match="complex"):
        fq.split_bands(torch.fft.fft2(face))
    with pytest.raises(ValueError, match="NaN"):
        fq.mask_bands(face * float("nan"), [1])
    for use in (lambda image: reduced(image, 2), lambda image: morph(face, image)):
        with pytest.raises(ValueError, match="NaN"):
            use(face * float("nan"))
    with pytest.raises(ValueError, match="does not fit"):
        fq.keep_frequencies(face, torch.ones(112, 112, dtype=bool))
    with pytest.raises(ValueError, match="'both'"):
        fq.frequency_influence(tiny, xfv.Pair(*crops), masked="none")


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
    assert not torch.equal(one.control_a[:, 1:], fq.frequency_influence(tiny, pair, width=2, control=20).control_a[:, 1:])


def test_gradient_estimate_becomes_exact_on_every_bands_own_path(tiny, crops):
    pair = xfv.Pair(*crops)
    exact = fq.frequency_influence(tiny, pair, width=2)
    errors = [(fq.gradient_influence(tiny, pair, groups=99, steps=steps, width=2).a[1:] - exact.a[1:]).abs().max() for steps in (1, 8, 64)]
    assert errors[2] < errors[1] < errors[0] and errors[2] < 1e-3


def test_gradient_estimate_of_a_linear_score_is_exact_with_any_groups(crops):
    class Linear(xfv.FaceModel):
        def embed(self, images):  # a cosine that is linear in the pixels
            return super().forward(images)

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 5))
    model, pair = Linear(network, size=20), xfv.Pair(*crops)
    exact, estimate = fq.frequency_influence(model, pair, width=2), fq.gradient_influence(model, pair, groups=2, width=2)
    assert torch.allclose(estimate.a[1:], exact.a[1:], atol=1e-4) and torch.allclose(estimate.b[1:], exact.b[1:], atol=1e-4)


def test_regions_that_cover_the_image_lose_the_whole_band(tiny, crops):
    everywhere = torch.ones(20, 20)
    found = fq.local_influence(tiny, *crops, {"all": everywhere, "none": 0 * everywhere}, width=2)
    assert torch.allclose(found[0], fq.frequency_influence(tiny, xfv.Pair(*crops), width=2).a, atol=1e-5)
    assert found[1].abs().max() < 1e-6


def test_table_equals_single_pairs_and_averages_its_rows(model, pairs):
    some = pairs[[0, 1, 2, 30, 31, 32]]
    table = fq.influence_table(model, some, width=15)
    row = table[(table.pair == 4) & (table.side == "reference")]
    assert torch.allclose(torch.tensor(row.influence.to_numpy()), fq.frequency_influence(model, some[4], width=15).b, atol=1e-5)
    averages = fq.average_influence(table)
    mean = averages[(averages.outcome == "true accept") & (averages.band == 2)].iloc[0]
    rows = table[(table.outcome == "true accept") & (table.band == 2)]
    assert (
        mean["mean"] == pytest.approx(rows.influence.mean(), abs=1e-6)
        and mean.low < mean["mean"] < mean.high
        and mean.pairs == len(rows) / 2
    )
    one = table[(table.outcome == "true accept")].score.to_numpy()
    assert (one >= model.threshold).all()


@pytest.mark.parametrize("by", fq.BAND_ORDERS)
def test_bands_go_and_come_one_by_one_and_insertion_is_deletion_backwards(face, by):
    values = fq.band_energy(face, width=20).neg()
    order = fq.order_bands(values, by)
    gone = fq.progressive_bands(face, order, "deletion", width=20)
    come = fq.progressive_bands(face, order[::-1], "insertion", width=20)
    assert torch.allclose(gone, come.flip(0), atol=1e-6) and sorted(order) == [1, 2, 3, 4]
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
    assert scores[0] == pytest.approx((a @ b).item(), abs=1e-6) and scores[-1] == pytest.approx((flat[0] @ b).item(), abs=1e-5)
    assert both[-1] == pytest.approx((flat[0] @ flat[1]).item(), abs=1e-5)
    assert energy[0] == 0 and energy[-1] == pytest.approx(1) and (np.diff(energy) > 0).all()


def test_areas_do_not_depend_on_the_number_of_bands_and_average_to_the_accuracy():
    falling = np.linspace(1, 0, 1001)[None]
    assert fq.band_areas(falling, [True], 0.5)[0] == pytest.approx(fq.band_areas(falling[:, ::50], [True], 0.5)[0], abs=2.6)
    scores, labels = np.random.default_rng(0).random((9, 11)), np.arange(9) < 5
    _, area = deletion_area(scores, labels, 0.5)
    assert fq.band_areas(scores, labels, 0.5).mean() == pytest.approx(area)
    assert fq.band_areas(falling, [True], 0.5, share=np.linspace(0, 1, 1001)[None] ** 2)[0] == pytest.approx(25, abs=0.1)


def test_reduced_images_lose_the_high_frequencies_only(face):
    assert torch.allclose(reduced(face, 1), face, atol=1e-5)
    x = torch.arange(150) / 150
    coarse, fine = (0.5 + 0.2 * torch.cos(2 * torch.pi * cycles * x).expand(3, 150, 150) for cycles in (6, 50))
    assert reduced(coarse, 4).std() > 0.9 * coarse.std() and reduced(fine, 4).std() < 0.1 * fine.std()
    small = reduced(face, 4)
    assert small.shape == face.shape and 0 <= small.min() and small.max() <= 1
    for factor in (0.5, 50):
        with pytest.raises(ValueError, match="leave 4 pixels"):
            reduced(face, factor)


def test_morph_leads_from_one_face_to_the_other(model, pairs):
    one, two = pairs.image("s1/1"), pairs.image("s5/1")
    assert torch.allclose(morph(one, two, 0), one, atol=1e-5) and torch.allclose(morph(one, two, 1), two, atol=1e-5)
    steps = torch.stack([morph(one, two, share) for share in (0, 0.3, 0.7, 1)])
    with torch.no_grad():
        to_two = model.embed(steps) @ model.embed(two[None])[0]
    assert bool((to_two.diff() > 0).all())
    assert torch.allclose(morph(one, two, 0.3), morph(two, one, 0.7), atol=0.02)


def test_morph_of_what_is_no_face_is_refused(pairs):
    face = pairs.image("s1/1")
    with pytest.raises(ValueError, match="no face"):
        morph(face, torch.full_like(face, 0.5))
    with pytest.raises(ValueError, match="one size"):
        morph(face, face[:, :100])
    with pytest.raises(ValueError, match="share 2"):
        morph(face, face, 2)


def test_wrong_orders_kinds_and_groups_are_refused_in_words(tiny, crops):
    with pytest.raises(ValueError, match="'influence'"):
        fq.order_bands(torch.zeros(4), "best")
    with pytest.raises(ValueError, match="each of the bands 1 … 5 once"):
        fq.progressive_bands(crops[0], [1, 1], "deletion", width=2.5)
    with pytest.raises(ValueError, match="'deletion'"):
        fq.progressive_bands(crops[0], [1, 2, 3, 4, 5], "removal", width=2.5)
    with pytest.raises(ValueError, match="region 'eyes'"):
        fq.local_influence(tiny, *crops, {"eyes": torch.ones(9, 9)})
    with pytest.raises(ValueError, match="groups=0"):
        fq.gradient_influence(tiny, xfv.Pair(*crops), groups=0)


@pytest.mark.parametrize("kind, size", [("dlib", 150), ("arcface", 112)])
def test_face_regions_cover_every_pixel_once_and_hold_the_landmarks(kind, size):
    model = xfv.FaceModel(torch.nn.Flatten(), size=size, alignment=kind)
    regions = xfv.alignment.face_regions(model)
    assert torch.allclose(sum(regions.values()), torch.ones(size, size), atol=1e-5)
    faces = xfv.load_pairs("orl", model=model)
    photos = [(faces.image(name).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for name in faces.names[::40]]
    landmarks = np.mean([xfv.alignment.find_landmarks(photo)[5:] for photo in photos], axis=0)
    for name, (x, y) in zip(("eyes", "eyes", "nose", "mouth", "mouth"), landmarks.round().astype(int)):
        assert regions[name][y, x] > 0.5
    rows = [landmarks[:2, 1].mean(), landmarks[2, 1], landmarks[3:, 1].mean(), landmarks[1, 0] - landmarks[0, 0]]
    assert np.allclose(np.array(rows) / size, xfv.alignment.FEATURES[kind], atol=0.04)
