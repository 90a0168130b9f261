"""The one set-up line of every notebook, and the machine's name."""

import platform
import random
from pathlib import Path

import numpy as np
import torch


def notebook_setup(seed=0):
    """Seed random, numpy and torch, and print what the notebook runs on."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {device}; seed {seed}")


def processor():
    """Name of this machine's processor, for tables of timings."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
