"""Throughput of the training step against the loop a user would otherwise write.

    python tests/bench.py           # all networks, ten minutes on two cores
    python tests/bench.py --models resnet18 --rounds 5

Both are timed in one run, interleaved. The other loop is a torchvision dataset
with transforms, a DataLoader of four workers, and the default Adam: the
authors' settings. Both train the same network at batch 64 on images of random
pixels, in the number and shape of the data set, so nothing is downloaded. Each
measurement is a process of its own, and a setting's processes are timed
together: "2 x 1 thread" is two at once on two cores, as `make -j2` trains two
networks, and counts both.

Every line has images per second, the memory that training one network holds
(with the loader's workers), and the ratio to the other loop (median, and range
over the rounds). A line of ours has two more: what a step takes, and what its
arithmetic alone would take at the rate of a matrix product (without the dead
taps, which it leaves out). That rate is measured in the same process, and is
the better of torch's two libraries for it, of which its convolutions may use
another than its matrix products.

The step before convolutions on small maps were matrix products (commit 860149b)
and after, ms, two processes of one thread at once, fp32, interleaved; medians
of six or more:

    machine, torch                        network    before   after
    AMD EPYC (Zen 4), AVX512, 2.14.1      resnet18      159     115
    AMD EPYC (Zen 4), AVX512, 2.14.1      resnet50      569     411
    AMD EPYC (Zen 4), AVX512, 2.14.1      lenet         5.4     5.1
    AMD EPYC (Zen 4), AVX512, 2.14.1      fcnet        1.18    1.18
    Intel, AVX512, no bf16, a prototype   resnet18      295     195
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import datasets, transforms

import train

NETWORKS = {  # network: data set, steps to time
    "fcnet": ("MNIST", 600),
    "lenet": ("MNIST", 300),
    "resnet18": ("CIFAR100", 20),
    "resnet50": ("CIFAR10", 8),
}
BATCH = 64


def random_data(dataset, device):
    """A train.Data of random pixels and labels, in the number and shape of the original."""
    classes, shape, size, test_size = train.DATASETS[dataset]
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=random).to(device)
    labels = torch.randint(0, classes, (size,), generator=random).to(device)
    return train.Data(dataset, images, labels, images[:test_size], labels[:test_size], {})


def reference_steps(model, data, device):
    """Yields after every step of the loop that everyone writes."""
    original = datasets.MNIST if data.name == "MNIST" else datasets.CIFAR10

    class Packed(original):  # its own __getitem__, without its download
        def __init__(self, images, labels, transform):
            self.data = images
            self.targets = labels
            self.transform = transform
            self.target_transform = None

    channels = data.train_images.shape[1]
    half = (0.5,) * channels
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])
    if channels == 1:
        images = data.train_images[:, 0]
    else:
        images = data.train_images.movedim(1, 3).contiguous().numpy()
    warnings.filterwarnings("ignore", "This DataLoader will create")  # four workers, however few the cores
    loader = DataLoader(Packed(images, data.train_labels.tolist(), transform), BATCH, shuffle=True, num_workers=4)
    net = train.build(model, data.name, 0).to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    running = 0.0
    while True:
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            yield


def our_steps(model, data, device, precision, graph):
    """Yields the floating point operations of one step of train.py's, and then after every step."""
    if not graph:
        train.graphed = lambda step, *_: step
    net = train.build(model, data.name, 0).to(device)
    args = SimpleNamespace(lr=1e-3, precision=precision, batch_size=BATCH)
    logits = torch.zeros(len(data.train_labels), train.DATASETS[data.name][0], device=device)
    with train.small_maps(net):
        net.train()
        in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a.numel() * b[1]}  # of shapes; torch counts none
        with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
            loss = F.cross_entropy(net(train.pixels(data.train_images[:BATCH])), data.train_labels[:BATCH])
            loss.backward()
        del loss
        yield counter.get_total_flops()
        step = train.training_step(net, data, logits, args, hold=False)
        while True:
            order = torch.randperm(len(logits)).to(device)
            for batch in order.split(BATCH)[:-1]:
                step(batch)
                yield


def finish(device):
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matrix_rate(device, precision):
    """Floating point operations a second of a 1024 x 1024 matrix product (8192 on a GPU), by the faster library.

    On a CPU one is MKL, and the other oneDNN, which a 1 x 1 convolution with channels last asks for the same product.
    """
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    images, kernel = a.view(size // 16, 4, 4, size).permute(0, 3, 1, 2), a.view(size, size, 1, 1)
    best = float("inf")
    for product in (lambda: a @ a.t(), lambda: F.conv2d(images, kernel)) * 10:
        finish(device)
        start = time.perf_counter()
        product()
        finish(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def memory():
    """Bytes that this process and its children hold, shared pages divided among their holders."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    total = 0
    for process in ("self", *children):
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        total += 1024 * int(rollup.split("Pss:")[1].split()[0])
    return total


def measure(model, setting, device, steps):
    """One process of a setting: times `steps` steps once a line on stdin says that all of its processes are ready."""
    torch.set_num_threads(setting["threads"] or torch.get_num_threads())
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    data = random_data(NETWORKS[model][0], "cpu" if setting["reference"] else device)
    rate = matrix_rate(device, setting["precision"])
    if setting["reference"]:
        training = reference_steps(model, data, device)
        flops = 0
    else:
        training = our_steps(model, data, device, setting["precision"], setting["graph"])
        flops = next(training)
    for _ in range(max(3, steps // 10)):
        next(training)
    finish(device)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for _ in range(steps):
        next(training)
    finish(device)
    step = (time.perf_counter() - start) / steps
    result = {
        "rate": BATCH / step,
        "step": step,
        "arithmetic": flops / rate,
        **evaluation(model, data, device, setting["precision"]),
    }
    print(json.dumps(result), flush=True)
    os._exit(0)  # the loader's workers are of no more use


def evaluation(model, data, device, precision):
    """{"evaluation": images a second without gradients, "memory": what the process holds before it, in bytes}."""
    images = data.test_images[:1000].to(device)
    net = train.build(model, data.name, 0).to(device)
    peak = memory() if device.type == "cpu" else torch.cuda.max_memory_allocated()
    with torch.inference_mode(), train.small_maps(net):
        train.predict(net, images, precision)
        finish(device)
        start = time.perf_counter()
        train.predict(net, images, precision)
        finish(device)
    return {"evaluation": len(images) / (time.perf_counter() - start), "memory": peak}


def together(model, setting, device, steps):
    """What a setting's processes, run at once, come to: summed rates, and means of the rest."""
    command = [sys.executable, __file__, "--measure", json.dumps(setting), "--models", model]
    command += ["--device", str(device), "--steps", str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(setting["processes"])]
    for process in processes:
        assert process.stdout.readline() == "ready\n", "a measurement failed; its error is above"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [json.loads(process.communicate()[0]) for process in processes]
    sums = {key: sum(result[key] for result in results) for key in results[0]}
    for key in ("memory", "step", "arithmetic"):
        sums[key] /= len(results)
    return sums


def settings(device):
    """{name: setting}; the first is the reference."""
    usual = {"reference": False, "processes": 1, "threads": 0, "precision": "fp32", "graph": True}
    if device.type == "cuda":
        return {
            "the usual loop": usual | {"reference": True},
            "eager": usual | {"graph": False},
            "graph": usual,
            "graph, bf16": usual | {"precision": "bf16"},
            "graph, 8 at once": usual | {"processes": 8},
        }
    cores = len(os.sched_getaffinity(0))
    return {
        "the usual loop": usual | {"reference": True},
        f"1 x {cores} threads": usual,
        f"{cores} x 1 thread": usual | {"processes": cores, "threads": 1},
        f"{cores} x 1 thread, bf16": usual | {"processes": cores, "threads": 1, "precision": "bf16"},
    }


def cost_of_table1(result):
    """The epochs of training of one seed, 232, and its hours at the measured rates.

    Beside them there are evaluations: of the training set for the scores, and of the test set before the first epoch
    and after each, and after pruning. Together they are as many images as 379 test sets.
    """
    size, test_size = train.DATASETS["CIFAR100"][2:]
    epochs = 10  # of every training
    coresets = 6  # low and high at 0.1, 0.2, 0.3
    runs = 3 * (1 + coresets)  # three prune ratios of each of them and of the baseline
    trainings = 1 + coresets + runs
    trained = size * epochs * (1 + 2 * (0.1 + 0.2 + 0.3) + runs)
    evaluated = size * epochs + test_size * ((1 + epochs) * trainings + runs)
    seconds = trained / result["rate"] + evaluated / result["evaluation"]
    return trained / size, seconds / 3600


def line(model, name, results, references):
    """What a setting came to in all rounds: medians, and the ratio of its rate to that of the usual loop."""
    middle = medians(results)
    words = f"{model:9} {name:22} {middle['rate']:9.0f} images/s  {middle['memory'] / 2**20:6.0f} MiB"
    if results is references:
        return words
    ratios = sorted(ours["rate"] / usual["rate"] for ours, usual in zip(results, references))
    words += f"  x {statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    words += f"  step {1000 * middle['step']:.4g} ms, {1000 * middle['arithmetic']:.4g} at the matrix rate"
    return words + f" ({100 * middle['arithmetic'] / middle['step']:.0f} %)"


def medians(results):
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


def compare(model, device, rounds, steps):
    """Measure all settings of a network, interleaved, and print a line for each."""
    measured = {name: [] for name in settings(device)}
    for _ in range(rounds):
        for name, setting in settings(device).items():
            measured[name].append(together(model, setting, device, steps))
    references = next(iter(measured.values()))
    for name, setting in settings(device).items():
        print(line(model, name, measured[name], references), flush=True)
        if model == "resnet18" and (device.type == "cuda" or setting["threads"] == 1):  # as make trains it
            epochs, hours = cost_of_table1(medians(measured[name]))
            print(f"{'':32} make table1: {epochs:.0f} epochs of training, {hours:.2f} h for a seed", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=NETWORKS,
        default=list(NETWORKS),
        metavar="MODEL",
        help=f"some of {', '.join(NETWORKS)} (default: all)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that every setting is measured (default: 3)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: cuda or cpu)"
    )
    parser.add_argument("--steps", type=int, help="steps to time (default: by network)")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.measure:
        measure(args.models[0], json.loads(args.measure), device, args.steps)

    print(f"{train.device_name(device)}, torch {torch.__version__}, batch {BATCH}")
    for model in args.models:
        steps = (args.steps or NETWORKS[model][1]) * (20 if device.type == "cuda" else 1)
        compare(model, device, args.rounds, steps)


if __name__ == "__main__":
    main()
