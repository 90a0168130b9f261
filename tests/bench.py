"""Speed and memory, in one run: medians, and ratios against a named baseline. ``make bench`` prints the table."""

import argparse
import platform
import statistics
import subprocess
import sys
import time

import torch

import xfvlib as xfv
from xfvlib import pairs as pairs_module
from xfvlib.methods.fggb import fggb, fggb_from_kept

RUNS = 7


def seconds(*functions):
    """Median seconds of each function over RUNS rounds; the functions take turns, so that a busy moment hits all alike."""
    times = [[] for _ in functions]
    for round_number in range(RUNS + 1):
        for function, kept in zip(functions, times):
            start = time.perf_counter()
            function()
            if round_number:  # the first round warms up
                kept.append(time.perf_counter() - start)
    return [statistics.median(kept) for kept in times]


def looped(model, image):
    """The baseline: one backward pass a channel, with the same reduction and normalisation."""
    x = image[None].clone().requires_grad_(True)
    embedding, maps = model.embed(x)[0], []
    for k in range(model.dim):
        gradient = torch.autograd.grad(embedding[k], x, retain_graph=True)[0][0].abs().mean(dim=0)
        maps.append(gradient / gradient.norm())
    return torch.stack(maps)


def backward_operations(model):
    """Floating-point operations of one channel's backward pass to the pixels: those of a forward pass, 2 a multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, 3, *model.size))
    return counter.get_total_flops()


def matmul_rate():
    """Floating-point operations a second of a 2048 × 2048 matrix product."""
    a = torch.rand(2048, 2048)
    return 2 * 2048**3 / seconds(lambda: a @ a)[0]


def gradients_table(model, image):
    contiguous = xfv.load_model()
    contiguous.network.to(memory_format=torch.contiguous_format)
    plain, channels_last, ours = seconds(
        lambda: looped(contiguous, image), lambda: looped(model, image), lambda: xfv.channel_gradients(model, image)
    )  # fmt: skip
    share = model.dim * backward_operations(model) / ours / matmul_rate()
    print(f"\n### All {model.dim} channel gradients of one image, {model.name}\n")
    print("| | seconds | times as fast as the loop |\n|---|---|---|")
    print(f"| loop, one backward pass a channel, network as PyTorch lays it out | {plain:.2f} | 1 |")
    print(f"| the same loop, network laid out channels-last | {channels_last:.2f} | {plain / channels_last:.2f} |")
    print(f"| xfvlib | {ours:.2f} | {plain / ours:.2f} (of the channels-last loop: {channels_last / ours:.2f}) |")
    print(f"\nBackward passes alone run at {share:.0%} of the machine's matrix-product rate ({matmul_rate() / 1e9:.0f} GFLOP/s).")


def reuse_table(model, pair):
    kept = xfv.channel_gradients(model, pair.a)
    with torch.no_grad():
        embedding = model.embed(pair.b[None])[0]

    def new_partner():
        with torch.no_grad():
            fggb_from_kept(kept, model.embed(pair.b[None])[0], threshold=0.93)

    threshold, partner, full = seconds(
        lambda: fggb_from_kept(kept, embedding, threshold=0.93), new_partner, lambda: fggb(model, pair.a, pair.b, threshold=0.93)
    )
    print("\n### One FGGB map, ms\n\n| | ms |\n|---|---|")
    print(f"| from scratch | {1000 * full:.0f} |")
    print(f"| new partner (its embedding included), kept channel gradients | {1000 * partner:.1f} |")
    print(f"| new threshold, kept channel gradients | {1000 * threshold:.1f} |")


def reading_table(tmp_cache):
    fresh, cached = [], []
    for _ in range(5):
        for path in tmp_cache.glob("orl-*"):
            path.unlink()
        for times in (fresh, cached):
            start = time.perf_counter()
            pairs_module.orl_images.__wrapped__((150, 150), "dlib")
            times.append(time.perf_counter() - start)
    print("\n### Reading all 400 ORL crops, seconds\n\n| | s |\n|---|---|")
    print(f"| from the photographs, at the kept landmarks | {statistics.median(fresh):.2f} |")
    print(f"| from the cache | {statistics.median(cached):.2f} |")


PEAK = r"""
import re, sys, torch, xfvlib as xfv
from torch import nn
from xfvlib.gradients import each_channel_gradient
channels, kind = int(sys.argv[1]), sys.argv[2]
model, image = xfv.load_model(), xfv.load_pairs("orl")[0].a
model.network.fc = nn.Linear(256, channels, bias=False)  # timing and memory only: a wider embedding of random weights
model.dim = channels
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read()).group(1))
before = peak()
if kind == "stream":
    total = sum(maps.sum(dim=0) for _, maps in each_channel_gradient(model, image))
elif kind == "keep":
    xfv.channel_gradients(model, image)
print(before, peak())
"""


def memory_table():
    print("\n### Peak resident memory of one image's channel gradients, MB (a process of its own each)\n")
    print("| N channels | libraries and model | streamed | kept |\n|---|---|---|---|")
    for channels in (128, 512, 2048):
        peaks = []
        for kind in ("stream", "keep"):
            run = subprocess.run([sys.executable, "-c", PEAK, str(channels), kind], capture_output=True, text=True, check=True)
            before, after = (int(kilobytes) / 1000 for kilobytes in run.stdout.split())
            peaks.append(after)
        print(f"| {channels} | {before:.0f} | {peaks[0]:.0f} | {peaks[1]:.0f} |")


def processor():
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}; medians of {RUNS}")
    model, pairs = xfv.load_model(), xfv.load_pairs("orl")
    gradients_table(model, pairs[0].a)
    reuse_table(model, pairs[0])
    reading_table(xfv.files.cache_folder())
    memory_table()


if __name__ == "__main__":
    main()
