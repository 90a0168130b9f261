"""Speed and memory, in one run: medians, and ratios against a named baseline. ``make bench`` prints the table."""

import argparse
import copy
import io
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import PIL.Image
import torch

import xfvlib as xfv
from xfvlib import FaceModel
from xfvlib import pairs as pairs_module
from xfvlib.gradients import each_channel_gradient
from xfvlib.methods.fggb import fggb, fggb_from_kept
from xfvlib.models.frozen import frozen
from xfvlib.models.iresnet import IResNet

RUNS = 7


def seconds(*functions, runs=RUNS):
    """Median seconds of each function over the runs; the functions take turns, so that a busy moment hits all alike."""
    times = [[] for _ in functions]
    for round_number in range(runs + 1):
        for function, kept in zip(functions, times):
            start = time.perf_counter()
            function()
            if round_number:  # the first round warms up
                kept.append(time.perf_counter() - start)
    return [statistics.median(kept) for kept in times]


def reduced(gradient):
    gradient = gradient[0].abs().mean(dim=0)
    return gradient / gradient.norm()


def plain_loop(model, image, channels):
    """Baseline as one writes it without a further thought: one .backward() a channel, the network as it is loaded."""
    x = image[None].clone().requires_grad_(True)
    embedding = model.embed(x)[0]
    for k in range(channels):
        x.grad = None
        embedding[k].backward(retain_graph=True)
        reduced(x.grad)


def lean_loop(model, image, channels):
    """Baseline that wastes nothing: one autograd.grad a channel, weights frozen."""
    x = image[None].clone().requires_grad_(True)
    embedding = model.embed(x)[0]
    for k in range(channels):
        reduced(torch.autograd.grad(embedding[k], x, retain_graph=True)[0])


def streamed(model, image, channels):
    """xfvlib, as many channels as the baselines."""
    for first, maps in each_channel_gradient(model, image):
        if first + len(maps) >= channels:
            break


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


def gradients_table(model, network, image, channels, runs=RUNS):
    """One row a way of computing channel gradients: two loops on the network as published, and xfvlib."""
    lean, plain = (FaceModel(copy.deepcopy(network), size=model.size, mean=model.mean.flatten(), std=model.std.flatten()) for _ in range(2))
    for loop in (lean, plain):
        loop.network.to(memory_format=torch.contiguous_format)  # as PyTorch lays weights out when nobody asks
    plain.network.requires_grad_(True)
    few = 16  # one batch of xfvlib: forward and first backward passes, which are not scaled
    *times, start = seconds(
        lambda: plain_loop(plain, image, channels), lambda: lean_loop(lean, image, channels), lambda: streamed(model, image, channels),
        lambda: streamed(model, image, few), runs=runs,
    )  # fmt: skip
    with torch.no_grad():
        forward = seconds(lambda: model(image[None]), runs=runs)[0]
    if channels < model.dim:  # a loop's single forward pass is lost in its backward passes
        times = [t * model.dim / channels for t in times[:2]] + [start + (times[2] - start) * (model.dim - few) / (channels - few)]
    rate, note = matmul_rate(), "" if channels == model.dim else f", measured on {channels} and scaled"
    print(f"\n### All {model.dim} channel gradients of one image, {model.name}{note}\n")
    print("| | seconds | times as fast as the plain loop | as the lean loop |\n|---|---|---|---|")
    names = ("plain loop: .backward() a channel, network as it is loaded", "lean loop: autograd.grad a channel, weights frozen", "xfvlib")
    for name, t in zip(names, times):
        print(f"| {name} | {t:.2f} | {times[0] / t:.2f} | {times[1] / t:.2f} |")
    share = model.dim * backward_operations(model) / times[2] / rate
    print(
        f"\nA forward pass takes {1000 * forward:.0f} ms. The backward passes of xfvlib run at {share:.0%} of the machine's matrix-product rate"
    )
    print(f"({rate / 1e9:.0f} GFLOP/s), those of the lean loop at {share * times[2] / times[1]:.0%}.")


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
from xfvlib.models.frozen import frozen
from xfvlib.models.iresnet import IResNet
channels, kind = int(sys.argv[1]), sys.argv[2]
if kind == "iresnet":
    model = xfv.FaceModel(frozen(IResNet((3, 4, 14, 3))))
else:
    model = xfv.load_model()
    model.network.fc = nn.Linear(256, channels, bias=False)  # timing and memory only: a wider embedding of random weights
    model.dim = channels
image = torch.rand(3, *model.size)
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read()).group(1))
before = peak()
if kind == "keep":
    xfv.channel_gradients(model, image)
else:
    total = 0
    for first, maps in each_channel_gradient(model, image):
        total = total + maps.sum(dim=0)
        if kind == "iresnet" and first >= 48:
            break
print(before, peak())
"""


def peak_megabytes(channels, kind):
    """Resident memory of a process of its own: before, and at its peak."""
    run = subprocess.run([sys.executable, "-c", PEAK, str(channels), kind], capture_output=True, text=True, check=True)
    return [int(kilobytes) / 1000 for kilobytes in run.stdout.split()]


def memory_table():
    print("\n### Peak resident memory of one image's channel gradients, MB (a process of its own each)\n")
    print("| network | N channels | libraries and model | streamed | kept |\n|---|---|---|---|---|")
    for channels in (128, 512, 2048):
        (before, streamed), (_, kept) = peak_megabytes(channels, "stream"), peak_megabytes(channels, "keep")
        print(f"| dlib-resnet, wider | {channels} | {before:.0f} | {streamed:.0f} | {kept:.0f} |")
    before, streamed = peak_megabytes(512, "iresnet")
    print(f"| IResNet-50 | 512 | {before:.0f} | {streamed:.0f} | – |")


def bin_table():
    """Opening a verification file of 6,000 pairs, in the size of lfw.bin, whose images are ORL crops."""
    orl, model = xfv.load_pairs("orl"), xfv.FaceModel(torch.nn.Flatten(), size=112)
    jpegs = []
    for name in orl.names[:60]:
        buffer = io.BytesIO()
        pixels = (orl.image(name).permute(1, 2, 0).numpy() * 255).round().astype("uint8")
        PIL.Image.fromarray(pixels).resize((112, 112)).save(buffer, "JPEG", quality=95)
        jpegs.append(buffer.getvalue())
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(pickle.dumps(([bytes(bytearray(jpegs[i % 60])) for i in range(12_000)], [True, False] * 3000)))
        file.flush()
        took = seconds(lambda: xfv.load_pairs("lfw", bin=file.name, model=model))[0]
    print(f"\nOpening a .bin file of 6,000 pairs takes {took:.2f} s; no image is decoded.")


def processor():
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}; medians of {RUNS}"
    )
    model, pairs = xfv.load_model(), xfv.load_pairs("orl")
    gradients_table(model, model.network, pairs[0].a, model.dim)
    torch.manual_seed(0)
    network = IResNet((3, 4, 14, 3))
    iresnet = FaceModel(frozen(copy.deepcopy(network)), name="IResNet-50, random weights (timing only)")
    gradients_table(iresnet, network, torch.rand(3, 112, 112), channels=48, runs=5)
    reuse_table(model, pairs[0])
    reading_table(xfv.files.cache_folder())
    bin_table()
    memory_table()


if __name__ == "__main__":
    main()
