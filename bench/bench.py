"""Speed and memory, in one run: medians, and ratios against a named baseline. ``make bench`` prints the table."""

import argparse
import copy
import io
import json
import pickle
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from scipy.stats import spearmanr

import xfvlib as xfv
from xfvlib import FaceModel
from xfvlib.faithfulness import deletion_rows, deletion_table, progressively, settings_of
from xfvlib.frequency import frequency_influence, gradient_influence, prepare_bands, split_bands
from xfvlib.gradients import each_channel_gradient
from xfvlib.interaction import PLACES, interaction, matrix_of, places_of, prepare_places
from xfvlib.models.frozen import frozen
from xfvlib.models.iresnet import IResNet
from xfvlib.models.sface import load_sface
from xfvlib.notebook import processor
from xfvlib.pairs import orl_photo_path
from xfvlib.sweep import connected, one_torch_thread, read_costs

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
    """Floating-point operations of one channel's backward pass to the pixels: those of a forward pass, 2 a
    multiply-add."""
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
    lean, plain = (
        FaceModel(copy.deepcopy(network), size=model.size, mean=model.mean.flatten(), std=model.std.flatten())
        for _ in range(2)
    )
    for loop in (lean, plain):
        loop.network.to(memory_format=torch.contiguous_format)  # as PyTorch lays weights out when nobody asks
    plain.network.requires_grad_(True)
    few = 16  # one batch of xfvlib: forward and first backward passes, which are not scaled
    *times, start = seconds(
        lambda: plain_loop(plain, image, channels),
        lambda: lean_loop(lean, image, channels),
        lambda: streamed(model, image, channels),
        lambda: streamed(model, image, few),
        runs=runs,
    )
    with torch.no_grad():
        forward = seconds(lambda: model(image[None]), runs=runs)[0]
    if channels < model.dim:  # a loop's single forward pass is lost in its backward passes
        times = [t * model.dim / channels for t in times[:2]] + [
            start + (times[2] - start) * (model.dim - few) / (channels - few)
        ]
    rate, note = matmul_rate(), "" if channels == model.dim else f", measured on {channels} and scaled"
    print(f"\n### All {model.dim} channel gradients of one image, {model.name}{note}\n")
    print("| | seconds | times as fast as the plain loop | as the lean loop |\n|---|---|---|---|")
    names = (
        "plain loop: .backward() a channel, network as it is loaded",
        "lean loop: autograd.grad a channel, weights frozen",
        "xfvlib",
    )
    for name, t in zip(names, times):
        print(f"| {name} | {t:.2f} | {times[0] / t:.2f} | {times[1] / t:.2f} |")
    share = model.dim * backward_operations(model) / times[2] / rate
    print(f"\nA forward pass takes {1000 * forward:.0f} ms. The backward passes of xfvlib run at {share:.0%} of the")
    lean_share = share * times[2] / times[1]
    print(f"machine's matrix-product rate ({rate / 1e9:.0f} GFLOP/s), those of the lean loop at {lean_share:.0%};")
    print("operations are counted as in plain convolutions, of which wide ones by tiles need fewer.")


def parts_table(model, image):
    """Where the time of all channel gradients goes, by kind of operation."""
    with torch.profiler.profile() as profile:
        streamed(model, image, model.dim)
    spent = {one.key: one.self_cpu_time_total for one in profile.key_averages()}
    print("\n| operation | share of the time |\n|---|---|")
    for name in sorted(spent, key=spent.get)[:-7:-1]:
        print(f"| {name} | {spent[name] / sum(spent.values()):.0%} |")
    convolutions = [layer for layer in model.network.modules() if isinstance(layer, torch.nn.Conv2d)]
    depthwise = sum(layer.groups > 1 for layer in convolutions)
    print(f"\n{depthwise} of the {len(convolutions)} convolutions are depthwise, of nine products a value.")


REUSED = ("fggb", "occlusion", "corrrise", "xface")


def reuse_table(model, pairs, partners=(1, 3, 10, 100)):
    """Both maps of a pair as its images get more partners, and a new partner or threshold from what is kept, in ms.

    At k pairs an image a pair costs 2/k first stages and 2 second ones: computed from the medians of both, and run
    whole for all 6 pairs of 4 images.
    """
    print(f"\n### Both maps of a pair, ms, {model.name}: an image's first stage serves all of its pairs\n")
    heads = " | ".join(f"{k} pair{'s' * (k > 1)} an image" for k in partners)
    print(f"| method | first stage | new partner or threshold, one map | {heads} | 3 pairs an image, run whole |")
    print("|---|---|---|" + "---|" * (len(partners) + 1))
    crops = [pairs.image(name) for name in pairs.names[:4]]

    def first_stages(method, count=4):
        return [method.first(model, crop, {}) for crop in crops[:count]]

    def second_stage(method, one, other):
        method.second(one, other, {}, threshold=model.threshold)

    def all_pairs(method):
        for one, other in permutations(first_stages(method), 2):
            second_stage(method, one, other)

    for name in REUSED:
        method = xfv.METHODS[name]
        kept = first_stages(method, 2)
        first, second = seconds(partial(first_stages, method, 1), partial(second_stage, method, *kept), runs=3)
        (whole,) = seconds(partial(all_pairs, method), runs=1)
        costs = " | ".join(f"{1000 * (2 * first / k + 2 * second):.0f}" for k in partners)
        print(f"| {name} | {1000 * first:.0f} | {1000 * second:.1f} | {costs} | {1000 * whole / 6:.0f} |", flush=True)


def interaction_table(model, pairs):
    """Every place of one image with every place of the other: R + S forward passes, and a matrix product a partner."""
    print(f"\n### Interaction of the places of a pair, {model.name}\n")
    print("| places | couples | forward passes | s a pair | times the bare passes | further partner, ms |")
    print("|---|---|---|---|---|---|")
    pair = pairs[0]
    for kind in PLACES:
        places = places_of(model, kind)
        prepared = [prepare_places(model, image, places) for image in (pair.a, pair.b)]
        count = len(places.names)
        images = pair.a.expand(count, -1, -1, -1)

        def bare(images=images):
            with torch.no_grad():
                return [model.embed(some) for _ in range(2) for some in images.split(32)]

        ours, least, further = seconds(
            lambda places=places: interaction(model, pair, places), bare, lambda both=prepared: matrix_of(*both)
        )
        print(f"| {kind} | {count**2:,} | {2 * count} | {ours:.2f} | {ours / least:.2f} | {1000 * further:.2f} |")


def reading_table():
    """Once from the photographs at the kept landmarks, and again from memory."""
    read = []
    for _ in range(5):
        images, times = xfv.load_pairs("orl").images, []
        for _ in range(2):
            start = time.perf_counter()
            list(images.values())
            times.append(time.perf_counter() - start)
        read.append(times)
    first, again = (statistics.median(times) for times in zip(*read))
    photos = [orl_photo_path(f"s{person}/1") for person in range(1, 11)]
    detect = lambda kind: [xfv.alignment.find_landmarks(photo, kind, centred=True) for photo in photos]
    yunet, dlib = seconds(partial(detect, "arcface"), partial(detect, "dlib"), runs=3)
    print("\n### Reading all 400 ORL crops, seconds\n\n| | s |\n|---|---|")
    print(f"| from the photographs, at the kept landmarks | {first:.2f} |")
    print(f"| again, from memory | {again:.2f} |")
    print(f"\nLandmarks of a photograph take YuNet {100 * yunet:.1f} ms, dlib {100 * dlib:.0f} ms.")


PEAK = r"""
import re, sys, torch, xfvlib as xfv
from torch import nn
from xfvlib.frequency import frequency_influence, gradient_influence, prepare_bands, split_bands
from xfvlib.gradients import each_channel_gradient
from xfvlib.models.frozen import frozen
from xfvlib.models.iresnet import IResNet
channels, kind = int(sys.argv[1]), sys.argv[2]
if kind == "iresnet":
    model = xfv.FaceModel(frozen(IResNet((3, 4, 14, 3))))
else:
    model = xfv.load_model("dlib-resnet")
    model.network.fc = nn.Linear(256, channels, bias=False)  # memory only: a wider embedding of random weights
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


PEAK_OF_METHOD = r"""
import json, re, sys, torch, xfvlib as xfv
from xfvlib.faithfulness import deletion_rows, settings_of
model, pair = xfv.load_model(), xfv.load_pairs("orl")[0]
with torch.no_grad():
    model.embed(pair.a[None])
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read()).group(1))
before = peak()
if sys.argv[1] == "deletion":
    settings = settings_of({"metric": "deletion", "masked": "both"})
    deletion_rows(model, pair, {"map": torch.rand(2, *model.size)}, settings, threshold=0.9)
else:
    xfv.explain(model, pair, sys.argv[1], **json.loads(sys.argv[2]))
print(before, peak())
"""


def run_alone(program, *arguments):
    """Resident memory of a process of its own in MB: before, and at its peak."""
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return [int(kilobytes) / 1000 for kilobytes in run.stdout.split()]


def memory_table():
    print("\n### Peak resident memory of one image's channel gradients, MB (a process of its own each)\n")
    print("| network | N channels | libraries and model | streamed | kept |\n|---|---|---|---|---|")
    for channels in (128, 512, 2048):
        (before, streamed), (_, kept) = run_alone(PEAK, str(channels), "stream"), run_alone(PEAK, str(channels), "keep")
        print(f"| dlib-resnet, wider | {channels} | {before:.0f} | {streamed:.0f} | {kept:.0f} |")
    before, streamed = run_alone(PEAK, "512", "iresnet")
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


def frequency_table(model, pairs):
    """One-pixel rings against the forward passes they need, and the estimate from gradients against taking bands
    out."""
    pair, rings = pairs[0], split_bands(pairs[0].a)
    without = pair.a - rings  # the same images, made beforehand

    def bare():
        with torch.no_grad():
            return torch.cat([model.embed(some) for some in without.split(32)])

    groups = (1, 4, 16, 1000)
    estimates = [partial(gradient_influence, model, pair, groups=count) for count in groups]
    forward, ours, both, *times = seconds(
        bare, lambda: prepare_bands(model, pair.a), lambda: frequency_influence(model, pair), *estimates
    )
    single = forward / len(rings)
    print(f"\n### {len(rings)} bands, one-pixel rings, {model.name}\n")
    print(f"One image: {ours:.2f} s, {ours / forward:.2f} times the bare forward passes ({forward:.2f} s).\n")
    print("| influence on both images | s | in forward passes | Spearman with taking out, mean over 20 images |")
    print("|---|---|---|---|")
    print(f"| every band taken out | {both:.2f} | {both / single:.0f} | 1 |")
    some = [pairs[i] for i in range(0, len(pairs), len(pairs) // 10)]
    exact = [frequency_influence(model, one) for one in some]
    for count, t in zip(groups, times):
        found = [gradient_influence(model, one, groups=count) for one in some]
        agreement = [spearmanr(x[1:], y[1:])[0] for f, e in zip(found, exact) for x, y in ((f.a, e.a), (f.b, e.b))]
        name = f"{count} gradients an image" if count < len(rings) else "a gradient a band"
        print(f"| {name} | {t:.2f} | {t / single:.0f} | {statistics.mean(agreement):.2f} |")


def sweep_table(model, pairs, count=48):
    """Pairs a second of a warm cluster with 1 and 2 workers, beside the plain loop with one torch thread, which does
    the same work."""
    some, arguments = pairs[:count], {"methods": ["gradient"], "metrics": ["deletion"]}

    def loop():
        with one_torch_thread():
            deletion_table(model, some, **arguments)

    def swept(client):
        with tempfile.TemporaryDirectory() as out:
            xfv.sweep(model, some, out=out, client=client, block=max(1, count // 12), **arguments)

    with connected(workers=1) as single, connected(workers=2) as double:  # at once, so that all three take turns
        loop_time, one, two = seconds(loop, partial(swept, single), partial(swept, double), runs=3)
    print(f"\n### Gradient and deletion of {count} pairs, {model.name}\n\n| | pairs a second |\n|---|---|")
    for name, took in (("plain loop", loop_time), ("sweep, 1 worker", one), ("sweep, 2 workers", two)):
        print(f"| {name} | {count / took:.2f} |")
    print(f"\nOverhead of the sweep, one worker against the loop: {one / loop_time - 1:.0%} (target: at most 10 %).")
    print(f"2 workers are {one / two:.2f} times as fast as 1 (target: 1.7).")


OPTIONS = {"minplus": {"quick": True}, "fame": {"steps": 100}}


@contextmanager
def counted(model):
    """List of the sizes of the batches that pass through the network."""
    sizes = []
    hook = model.network.register_forward_hook(lambda network, images, output: sizes.append(len(images[0])))
    yield sizes
    hook.remove()


def forward(model, images, batch, count):
    """The bare forward pass of ``count`` of the images, again and again where there are not so many."""
    with torch.no_grad():
        for start in range(0, count - batch + 1, batch):
            first = start % (len(images) - batch + 1)
            model.embed(images[first : first + batch])


def methods_table(model, pair):
    """Every method on both images of a pair: those that change pixels against the bare forward pass of as many images,
    and one at a time."""
    print(f"\n### Explanation methods, {model.name}\n")
    heads = "images a pair | ms a pair | images a second | of the bare forward pass | ms a pair, one image at a time"
    print(f"| method | {heads} | peak MB |")
    print("|---|---|---|---|---|---|---|")
    images = torch.rand(512, 3, *model.size)
    rows = [(name, OPTIONS.get(name, {})) for name in xfv.METHODS] + [
        ("corrrise", {"fill": "black"}),
        ("xface", {"scoring": 2}),
    ]
    for name, options in rows:
        method = partial(xfv.METHODS[name].maps, model, pair.a, pair.b, threshold=model.threshold, **options)
        with counted(model) as sizes:
            method()
        changes_pixels = not xfv.METHODS[name].gradients
        if changes_pixels:
            whole = sum(sizes) // max(sizes) * max(sizes)  # as many images in whole batches
            bare, took = seconds(partial(forward, model, images, max(sizes), whole), method, runs=5)
            speed = f"{sum(sizes) / took:.0f} | {(bare / whole) / (took / sum(sizes)):.0%}"
        else:
            (took,) = seconds(method, runs=3)
            speed = f"{sum(sizes) / took:.0f} | –"
        start = time.perf_counter()
        if "batch" in xfv.METHODS[name].options:
            method(batch=1)
        loop = f"{1000 * (time.perf_counter() - start):.0f}" if max(sizes) > 1 and name != "fggb" else "–"
        named = ", ".join([name, *(f"{key} {value}" for key, value in options.items())])
        before, peak = run_alone(PEAK_OF_METHOD, name, json.dumps(options))
        print(f"| {named} | {sum(sizes)} | {1000 * took:.0f} | {speed} | {loop} | {peak:.0f} |", flush=True)
    deletion_row(model, pair)
    print(
        "\nMethods that change pixels, and deletion and insertion, should run at 90 % of the bare forward pass or more."
    )
    print(f"Libraries, model and pair alone take {before:.0f} MB. FGGB one channel at a time: first table.")


def deletion_row(model, pair):
    """Deletion and insertion of one method, both images masked, against the bare forward pass in batches of the same
    size; and one at a time."""
    settings, images = settings_of({"metric": "deletion", "masked": "both"}), torch.rand(216, 3, *model.size)
    maps = {str(i): torch.rand(2, *model.size, generator=torch.Generator().manual_seed(i)) for i in range(4)}

    def one_at_a_time():
        with torch.no_grad():
            for image in (pair.a, pair.b):
                for kind in ("deletion", "insertion"):
                    for changed in progressively(image, maps["0"][0], kind)[1:-1]:
                        model.embed(changed[None])

    bare, scored, loop = seconds(
        partial(forward, model, images, 18, 216),
        lambda: deletion_rows(model, pair, maps, settings, threshold=0.9),
        one_at_a_time,
        runs=5,
    )
    orders = len(maps) + 2  # two controls
    used, peak = (
        36 * orders + 4,
        run_alone(PEAK_OF_METHOD, "deletion")[1],
    )  # 18 changed versions of both images; the ends of all curves
    took, rate = 1000 * scored / orders, used / scored
    share = rate / (len(images) / bare)
    figures = f"36 | {took:.0f} | {rate:.0f} | {share:.0%} | {1000 * loop:.0f} | {peak:.0f}"
    print(f"| deletion and insertion of a map | {figures} |")


def sweep_memory_table(model, pairs, counts=(12, 48, 192)):
    """Peak resident memory of a worker: it must not grow with the number of pairs."""
    print("\n### Peak resident memory of a worker of a sweep by FGGB, MB (new processes for each)\n")
    print("| pairs | MB |\n|---|---|")
    everything = pairs.all_pairs()
    for count in counts:
        some = everything[np.linspace(0, len(everything) - 1, count).round().astype(int)]
        with connected(workers=2) as client, tempfile.TemporaryDirectory() as out:
            xfv.sweep(
                model,
                some,
                ["fggb"],
                {"metric": "deletion", "steps": 1},
                out=out,
                client=client,
                block=4,
                controls=False,
            )
            print(f"| {count} | {max(client.run(peak_of_this_process).values()):.0f} |")


def peak_of_this_process():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1000


def reuse_in_sweep_table(model, pairs, partners=(1, 3, 10, 30, 100)):
    """Cost of a pair as its images get more partners: every pair of 2, 4, 11, 31 and 101 images."""
    print("\n### FGGB maps of every pair of a few images: cost of a pair, 2 workers\n")
    print("| pairs an image | pairs | images prepared | ms a pair |\n|---|---|---|---|")
    everything = pairs.all_pairs()

    def swept(count, client):
        chosen = everything.names[: count + 1]
        some = everything[(everything.table.name_a.isin(chosen) & everything.table.name_b.isin(chosen)).to_numpy()]
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            xfv.sweep(model, some, ["fggb"], {"metric": "deletion", "steps": 1}, out=out, client=client, controls=False)
            return len(some), read_costs(out).gradients.sum(), 1000 * (time.perf_counter() - start) / len(some)

    with connected(workers=2) as client:
        swept(1, client)  # warms up
        for count in partners:
            number, gradients, took = swept(count, client)
            print(f"| {count} | {number} | {gradients:.0f} | {took:.0f} |")


def cuda_table():
    """FGGB on the largest of the papers' networks, where there is a GPU: all 512 channels, the map back on the CPU."""
    model, crops = FaceModel(frozen(IResNet((3, 13, 30, 3)))).to("cuda"), torch.rand(2, 3, 112, 112)
    (took,) = seconds(lambda: xfv.METHODS["fggb"](model, *crops, threshold=0.2, channels_at_once=64))
    print(f"\nOne FGGB map of IResNet-100, N = 512, random weights, on {torch.cuda.get_device_name()}: {took:.2f} s.")


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{processor()}, {torch.get_num_threads()} threads, {versions}; medians of 3 to {RUNS} runs")
    model, pairs = xfv.load_model(), xfv.load_pairs("orl")
    gradients_table(model, load_sface(), pairs[0].a, model.dim, runs=3)
    parts_table(model, pairs[0].a)
    dlib = xfv.load_model("dlib-resnet")
    gradients_table(dlib, dlib.network, xfv.load_pairs("orl", model=dlib)[0].a, dlib.dim)
    torch.manual_seed(0)
    network = IResNet((3, 4, 14, 3))
    iresnet = FaceModel(frozen(copy.deepcopy(network)), name="IResNet-50, random weights (timing only)")
    gradients_table(iresnet, network, torch.rand(3, 112, 112), channels=48, runs=5)
    reuse_table(model, pairs)
    frequency_table(model, pairs)
    interaction_table(model, pairs)
    reading_table()
    bin_table()
    memory_table()
    methods_table(model, pairs[0])
    sweep_table(model, pairs)
    sweep_memory_table(model, pairs)
    reuse_in_sweep_table(model, pairs)
    if torch.cuda.is_available():
        cuda_table()


if __name__ == "__main__":
    main()
