import numpy as np
import pytest
import torch

import xfvlib as xfv
from xfvlib import frequency as fq


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
    with pytest.raises(ValueError, match="does not fit"):
        fq.keep(face, torch.ones(112, 112, dtype=bool))
    with pytest.raises(ValueError, match="'both'"):
        fq.frequency_influence(tiny, xfv.Pair(*crops), masked="none")
