from functools import partial

import numpy as np
import pytest
import torch

import xfvlib as xfv
from xfvlib.perturb import check_count, embed_versions, occluded, scaled, spread, squares


def test_squares_are_products_of_rows_and_columns():
    rows, columns = squares(torch.tensor([[1, 2], [0, 0], [3, 4]]), 2, (4, 5))
    expected = torch.zeros(3, 4, 5)
    expected[0, 1:3, 2:4], expected[1, :2, :2], expected[2, 3:, 4:] = 1, 1, 1  # the last one is cut at the corner
    assert torch.equal(rows[:, :, None] * columns[:, None, :], expected)


def test_versions_are_asked_for_one_batch_at_a_time_in_order(tiny, crops):
    asked = []

    def changed(some):
        asked.append(some)
        return crops[[0, 1, 0, 1, 1][some]]

    result = embed_versions(tiny, changed, 5, batch=2)
    assert asked == [slice(0, 2), slice(2, 4), slice(4, 5)] and not result.requires_grad
    assert torch.allclose(result, tiny.embed(crops)[[0, 1, 0, 1, 1]], atol=1e-6)


@pytest.mark.parametrize("fill", ["black", "mean", "noise", "blur"])
def test_occlusion_leaves_the_rest_as_it_is(crops, fill):
    seen = []

    class Pixels(torch.nn.Flatten):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    model = xfv.FaceModel(Pixels(), size=20, mean=0, std=1)
    found = occluded(partial(embed_versions, model), crops[0], torch.tensor([[3, 4], [0, 0]]), 6, fill)
    changed, inside = seen[-1][0], torch.zeros(3, 20, 20, dtype=torch.bool)
    inside[:, 3:9, 4:10] = True
    assert torch.equal(changed[~inside], crops[0][~inside]) and (changed[inside] != crops[0][inside]).all()
    assert found["occluded"].shape == (2, 1200)
    assert torch.equal(spread(torch.tensor([1.0, 0]), found)[None] > 0, inside[:1])


def test_lengths_follow_the_height_of_the_image():
    assert [scaled(30, torch.zeros(3, side, side)) for side in (112, 150, 224, 2)] == [30, 40, 60, 1]
    assert scaled(16, torch.zeros(3, 128, 96), base=256) == 8


def test_counts_are_whole_numbers():
    check_count("steps", np.int64(3))
    for wrong in (0, -1, 2.0, True, "3", None):
        with pytest.raises(ValueError, match="steps is"):
            check_count("steps", wrong)
