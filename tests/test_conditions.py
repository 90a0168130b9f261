import numpy as np
import pytest
import torch

from xfvlib.conditions import face_landmarks, morph, reduced

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def face(pairs):
    return pairs[0].a


def test_reduced_images_lose_the_high_frequencies_only(face):
    assert torch.allclose(reduced(face, 1), face, atol=1e-5)
    x = torch.arange(112) / 112
    coarse, fine = (0.5 + 0.2 * torch.cos(2 * torch.pi * cycles * x).expand(3, 112, 112) for cycles in (4, 40))
    assert reduced(coarse, 4).std() > 0.9 * coarse.std() and reduced(fine, 4).std() < 0.1 * fine.std()
    small = reduced(face, 4)
    assert small.shape == face.shape and small.min() >= 0 and small.max() <= 1


@pytest.mark.parametrize("factor", [0.5, 0, -1, NAN, INF, "2", None, 1j, [2]])
def test_factors_that_are_none_are_refused_in_words(face, factor):
    with pytest.raises(ValueError, match="factor is .*at least 1"):
        reduced(face, factor)


def test_a_factor_that_leaves_no_picture_is_refused_and_numpy_numbers_are_taken(face):
    with pytest.raises(ValueError, match="leave 4 pixels"):
        reduced(face, 50)
    assert torch.equal(reduced(face, np.float32(2)), reduced(face, 2))
    assert torch.allclose(reduced(face.double(), np.int64(2)), reduced(face, 2))


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
    with pytest.raises(ValueError, match="differ in size"):
        morph(face, face[:, :100])


@pytest.mark.parametrize("share", [-0.1, 1.1, NAN, INF, "1", None, [0.5]])
def test_shares_that_are_none_are_refused_in_words(face, share):
    with pytest.raises(ValueError, match="share is"):
        morph(face, face, share)


@pytest.mark.parametrize(
    "wrong", [lambda x: x * NAN, lambda x: x[0], lambda x: None, lambda x: x.numpy(), lambda x: 255 * x]
)
def test_what_is_no_crop_is_refused_in_words(face, wrong):
    for use in (lambda x: morph(face, x), lambda x: morph(x, face), face_landmarks):
        with pytest.raises((TypeError, ValueError), match="image '"):
            use(wrong(face))
    if wrong(face) is None or wrong(face).ndim < 3 or np.isnan(wrong(face)).any():
        with pytest.raises((TypeError, ValueError), match="the image (is|has)"):
            reduced(wrong(face), 2)


def test_landmarks_lie_inside_the_crop_and_morphs_between_them(face, pairs):
    other = pairs.image("s5/1")
    one, two = face_landmarks(face), face_landmarks(other)
    assert one.shape == (68, 2) and one.min() >= 1 and one.max() <= 148
    between = face_landmarks(morph(face, other))
    assert np.abs(between - (one + two) / 2).mean() < np.abs(one - two).mean()
