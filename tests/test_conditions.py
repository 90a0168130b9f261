import numpy as np
import pytest
import torch

from xfvlib.alignment import TEMPLATE, crop
from xfvlib.conditions import apcer, bpcer, detector_scores, face_landmarks, mmpmr, morph, native_scale, reduced
from xfvlib.frequency import band_energy

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


def test_native_scale_is_the_photographs_pixels_for_one_of_the_crop():
    turned = (TEMPLATE @ [[0.8, 0.6], [-0.6, 0.8]]) * 1.7 + [30, -5]
    rows = np.stack([TEMPLATE.ravel(), turned.ravel(), TEMPLATE.ravel() / 2])
    assert native_scale(rows) == pytest.approx([1, 1.7, 0.5])
    assert native_scale(np.c_[rows, [0, 0, 1]], size=56) == pytest.approx([2, 3.4, 1])
    for wrong in (TEMPLATE, rows[:, :9], rows * NAN, []):
        with pytest.raises(ValueError, match="rows"):
            native_scale(wrong)


def test_a_crop_of_native_scale_a_half_holds_no_fine_detail():
    noise = np.random.default_rng(0).random((130, 130, 3))
    beyond = []
    for scale in (0.5, 1):
        landmarks = scale * (TEMPLATE + 3)
        assert native_scale(landmarks.ravel()) == pytest.approx(scale)
        beyond.append(float(band_energy(crop(noise, landmarks), edges=[1, 40])[2]))
    assert beyond[0] < beyond[1] / 10


def test_mmpmr_by_hand():
    scores = [[[0.9, 0.8], [0.9, 0.7]], [[0.9, 0.1], [0.2, 0.9]], [[0.9, 0.9], [0.1, 0.1]]]
    assert mmpmr(scores, 0.5).tolist() == [1, 1, 0]
    assert mmpmr(scores, 0.5, "all").tolist() == [1, 0, 0]
    assert mmpmr(scores, 0.5, "prodavg").tolist() == [1, 0.25, 0]
    assert mmpmr(scores, 0.7, "all").tolist() == [1, 0, 0]  # at the threshold is accepted
    for wrong in ([[0.9]], np.full((1, 2, 3), NAN), np.ones((0, 2, 2))):
        with pytest.raises(ValueError, match="contributors"):
            mmpmr(wrong, 0.5)
    with pytest.raises(ValueError, match="'prodavg'"):
        mmpmr(scores, 0.5, "mean")


def test_apcer_is_that_of_the_worst_kind_and_bpcer_of_bona_fide():
    values, kinds = [0.9, 0.1, 0.8, 0.7, 0.6], ["a", "a", "b", "b", "b"]
    assert apcer(values, 0.5) == pytest.approx(0.2) and apcer(values, 0.5, kinds) == 0.5
    assert apcer(values, 0.7) == pytest.approx(0.4)  # at the threshold it is called an attack
    assert bpcer([0.1, 0.5, 0.2, 0.3], 0.5) == 0.25 and bpcer([0.1], 0.5) == 0
    for wrong in ([], [NAN], [[0.5]]):
        with pytest.raises(ValueError, match="at least one"):
            bpcer(wrong, 0.5)
    with pytest.raises(ValueError, match="kinds"):
        apcer(values, 0.5, kinds[:2])


def test_a_detector_has_not_seen_the_people_it_judges():
    rng = np.random.default_rng(0)
    people = np.array([[f"p{i}", f"p{i}"] for i in range(30)]).repeat(4, axis=0)
    attack = np.arange(120) % 2 == 0
    told = attack + rng.normal(0, 0.3, 120)
    known = np.eye(30)[np.arange(120) // 4]  # who it is says nothing about others
    scores = detector_scores(np.c_[told, known], attack, people)
    assert ((scores > 0) == attack).mean() > 0.85
    marked = np.repeat(rng.integers(0, 2, 30), 4) > 0  # each person's rows are all of one kind
    scores = detector_scores(known, marked, people[:, 0])
    assert len({*scores.round(6)}) <= 2  # nobody's own mark can be known
    with pytest.raises(ValueError, match="all of one kind"):
        detector_scores(told[:8, None], attack[:8], np.full(8, "a"))
    with pytest.raises(ValueError, match="needed"):
        detector_scores(told, attack, people)
