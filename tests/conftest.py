import pytest
import torch
from torch import nn

import xfvlib as xfv


@pytest.fixture(scope="session")
def model():
    return xfv.load_model()


@pytest.fixture(scope="session")
def pairs():
    return xfv.load_pairs("orl")


@pytest.fixture(scope="session")
def tiny():
    """A small smooth-and-kinked network of fixed weights: fast enough for loops over every channel."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2), nn.PReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 11)
    )  # fmt: skip
    return xfv.FaceModel(network, size=20, name="tiny", threshold=0.3)


@pytest.fixture
def crops():
    """Two reproducible 20×20 crops for the tiny network."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 20, 20, generator=generator)
