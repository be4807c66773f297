"""Step 3 of the method: train a network from scratch on a coreset (without
--subset, on all data).

    python train.py --dataset MNIST --model fcnet --subset low.npy --out low.pt

The ground floor of the suite, too: data sets, networks, the one training loop,
evaluation and checkpoints are here, and forget.py, prune.py and finetune.py
import them. The settings are those of the paper's authors: Adam, lr 1e-3, batch
64, cross-entropy, no augmentation, pixels scaled to [-1, 1].
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too

import argparse
import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import io
import itertools
import json
import math
import os
import pickle
import platform
import shlex
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

# Idle OpenMP threads must sleep, not spin: with more threads than cores, spinning makes a step 30 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # fp32 means fp32, whatever a container sets

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

DATASETS = {  # name: classes, shape of an image, size of the original training and test sets
    "MNIST": (10, (1, 28, 28), 60_000, 10_000),
    "CIFAR10": (10, (3, 32, 32), 50_000, 10_000),
    "CIFAR100": (100, (3, 32, 32), 50_000, 10_000),
}
ORIGINALS = {"MNIST": "1e35582d42a90940"}  # the digest of the original data set, where it is known


def fail(message, status=1):
    """End the program with one line on stderr."""
    complain(message)
    sys.exit(status)


def complain(message):
    """Print an error in one line on stderr, or nowhere if that is closed: print would take stdout."""
    if sys.stderr is not None:
        print(printable(f"{Path(sys.argv[0]).name}: error: {message}"), file=sys.stderr)


def printable(text):
    """The text with characters that a terminal would obey shown escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def say(line):
    """Print a line at once; a reader that has gone or a full disk behind it must not end hours of training."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


# ---------------------------------------------------------------------------------------------------------- data


class Data(NamedTuple):
    """A data set in memory; images uint8 [N, C, H, W], labels int64 [N], all on the device that trains."""

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    facts: dict  # goes into every checkpoint: sizes, a digest that tells data sets apart, whether it is the original


def load(name, root, device="cpu"):
    """The data set `name` from ROOT/NAME.pt, which is packed from torchvision's download if it is not there.

    The file holds {"train_images": uint8 [N, C, H, W], "train_labels": int64 [N], "test_images", "test_labels"}.
    Exits with one line if it is damaged, or if there is neither a file nor a network.

    The fact "original" tells whether MNIST is the original, by its digest: its raw files are compared with nothing.
    Of CIFAR, torchvision checks what it downloads; whether a CIFAR10.pt came from there is not known, and not told.
    """
    path = Path(root) / f"{name}.pt"
    packed = None if path.exists() else pack(name, path)
    try:
        tensors = splits(packed or load_pt(path), name)
    except Exception as error:
        fail(f"cannot use the data set {path} ({first_line(error)}); if it is damaged, copy a good one there")
    train_images, _, test_images, _ = tensors
    facts = {
        "train_size": len(train_images),
        "test_size": len(test_images),
        "data": digest(tensors),
    }
    if name in ORIGINALS:
        facts["original"] = facts["data"] == ORIGINALS[name]
    return Data(name, *(tensor.to(device) for tensor in tensors), facts)


def digest(tensors):
    """What tells these tensors, on the CPU, from others: 16 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        sha256.update(tensor.numpy())
    return sha256.hexdigest()[:16]


def splits(packed, name):
    """(train_images, train_labels, test_images, test_labels) of what a NAME.pt holds; ValueError if it does not fit."""
    classes = DATASETS[name][0]
    train_images, train_labels = images_and_labels(packed, "train", name)
    test_images, test_labels = images_and_labels(packed, "test", name)
    if len(test_labels.unique()) < classes:
        raise ValueError(f"test_labels must have every class from 0 to {classes - 1}")
    return train_images, train_labels, test_images, test_labels


def images_and_labels(packed, split, name):
    """The images, uint8 [N, C, H, W], and labels, int64 [N], of a split: "train" or "test".

    ValueError says what of them data set `name` cannot have.
    """
    classes, shape, *_ = DATASETS[name]
    images = packed[f"{split}_images"].contiguous()
    labels = packed[f"{split}_labels"].contiguous()
    if images.dtype != torch.uint8 or images.shape[1:] != shape or len(images) == 0:
        raise ValueError(f"{split}_images must be uint8 [N, {', '.join(map(str, shape))}]")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"{split}_labels must be int64 [{len(images)}], one for each image")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{split}_labels must lie in 0 to {classes - 1}")
    return images, labels


def pack(name, path):
    """The data set as torchvision downloads and verifies it, written to `path`, once; None if another process did that.

    Of MNIST, torchvision checks that the raw files exist, not that they are whole.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent):
            if path.exists():
                return None
            packed = from_torchvision(name, path.parent)
            if name in ORIGINALS and digest(splits(packed, name)) != ORIGINALS[name]:
                say(f"the {name} in {path.parent} is not the original one; reports will say so")
            if can_be_written(path.parent):
                write(path, packed)
            else:
                say(f"{path.parent} cannot be written: {name} stays in memory")
    except Exception as error:  # torchvision has no error class of its own
        fail(
            f"no {path}, and torchvision could not get {name} ({first_line(error)}); "
            f"copy {path.name}, or the original files as torchvision lays them out, into {path.parent}"
        )
    return packed


@contextlib.contextmanager
def locked(folder):
    """Within, other processes wait that come to the same line; torchvision takes no lock.

    They wait ten minutes at most, for the holder may have died on another machine. In a shared folder without locks
    nobody waits: each process packs, and what is renamed last stays.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(600):
            if not held_by_another(descriptor):
                break
            time.sleep(1)
        yield
    finally:
        os.close(descriptor)


def held_by_another(descriptor):
    """Whether another process holds the lock; if not, this one holds it now, unless the folder knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def from_torchvision(name, folder):
    """What NAME.pt holds, from the files that torchvision finds in the folder or downloads into it."""
    from torchvision import datasets

    classes, _, train_size, test_size = DATASETS[name]
    packed = {}
    for split, size in (("train", train_size), ("test", test_size)):
        original = getattr(datasets, name)(folder, train=split == "train", download=True)
        images = torch.as_tensor(original.data)
        labels = torch.as_tensor(original.targets)
        if len(images) != size or len(labels) != size or labels.unique().tolist() != list(range(classes)):
            raise ValueError(f"its {split} files are damaged; delete them")
        if images.ndim == 3:
            images = images[:, None]  # MNIST has no channels
        else:
            images = images.movedim(3, 1)
        packed[f"{split}_images"] = images.contiguous()
        packed[f"{split}_labels"] = labels
    return packed


def pixels(images, dtype=torch.float32):
    """uint8 [B, C, H, W] to numbers in [-1, 1]: mean 0.5 and std 0.5 per channel, as the authors have it."""
    return images.to(dtype).div_(127.5).sub_(1)


# ------------------------------------------------------------------------------------------------------ networks


def fcnet():
    """784-256-10, 203,530 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def lenet():
    """Two 5 x 5 convolutions of 6 and 16 channels, then 256-120-84-10; 44,426 parameters.

    ReLU comes after pooling: the same values and gradients as before it, on a quarter of the numbers.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


NETWORKS = {"fcnet": fcnet, "lenet": lenet}


def build(model, dataset, seed):
    """The network with the initial weights that belong to `seed`; exits with one line if it cannot take the images.

    The weights are the same for every order, ratio and device. Every Conv2d gets `map_sizes`, the height and width of
    its input and of its output, from a pass on the meta device: shapes only, no arithmetic.
    """
    classes, shape, *_ = DATASETS[dataset]
    torch.manual_seed(seed)

    def note_map_sizes(conv, inputs, output):
        conv.map_sizes = tuple(inputs[0].shape[2:]), tuple(output.shape[2:])

    try:
        if model in NETWORKS:
            net = NETWORKS[model]()
        else:
            from torchvision import models

            if model not in models.list_models(module=models):
                fail(f"--model {model}: must be fcnet, lenet or a torchvision classification model, such as resnet18")
            net = models.get_model(model, weights=None, num_classes=classes)
        convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
        hooks = [conv.register_forward_hook(note_map_sizes) for conv in convolutions]
        shapes = {name: tensor.to("meta") for name, tensor in net.state_dict(keep_vars=True).items()}
        logits = torch.func.functional_call(net, shapes, torch.zeros(2, *shape, device="meta"))
        if not torch.is_tensor(logits) or logits.shape != (2, classes):
            raise ValueError("it does not answer with one number per class and nothing else")
    except Exception as error:  # whatever a network raises on images of a shape it was not made for
        why = why_not(model, shape, error)
        fail(f"--model {model} cannot take {dataset}'s {' x '.join(map(str, shape))} images ({why})")
    for hook in hooks:
        hook.remove()
    return net


def why_not(model, shape, error):
    """Why a network cannot take images of that shape: what to do, where that is known, or else what it raised."""
    if is_of_memory(error):
        return NO_MEMORY
    if model in NETWORKS:
        return "it is made for MNIST: use --dataset MNIST"
    if shape[0] != 3:
        return "torchvision's networks need three channels: use --dataset CIFAR10"
    return first_line(error)


def prunable(net):
    """{layer name: layer} of every Conv2d and Linear: their weights are what is pruned, and nothing else."""
    return {name: layer for name, layer in net.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}


def live_taps(conv):
    """The rows and columns (two slices) of a convolution's kernel that ever meet a pixel and not padding alone.

    On small maps many do not: their weights have zero gradient for ever and change no output.
    """
    slices = []
    by_axis = zip(conv.kernel_size, conv.stride, conv.padding, conv.dilation, *conv.map_sizes)
    for taps, stride, padding, dilation, pixels, outputs in by_axis:
        live = []
        for tap in range(taps):
            met = [output * stride - padding + tap * dilation for output in range(outputs)]
            if any(0 <= pixel < pixels for pixel in met):
                live.append(tap)
        slices.append(slice(live[0], live[-1] + 1))
    return tuple(slices)


class PatchProducts(torch.autograd.Function):
    """The convolution of x [B, H, W, C] with weight [O, rows, columns, C], no bias, as a sum of matrix products.

    products: what `patch_rows` returns. Every factor is a view: a row of taps that meet pixels is a matrix
    [O, taps * C] in the weight, and the row of pixels that they meet is one [B, pixels * C] in x.
    """

    @staticmethod
    def forward(ctx, x, weight, size, products):
        ctx.save_for_backward(x, weight)
        ctx.products = products
        y = x.new_zeros(len(x), *size, len(weight))
        for place, pixels, taps in products:
            y[place].addmm_(x[pixels].flatten(1), weight[taps].flatten(1).t())
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = torch.zeros_like(x)
        dweight = torch.zeros_like(weight)
        for place, pixels, taps in ctx.products:
            dx[pixels].view(len(x), -1).addmm_(dy[place], weight[taps].flatten(1))
            dweight[taps].view(len(weight), -1).addmm_(dy[place].t(), x[pixels].flatten(1))
        return dx, dweight, None, None


def patch_rows(conv):
    """[(place, pixels, taps)]: where each row of taps of each output pixel lies in y, x and the live taps."""
    products = []
    every = slice(None)
    height, width = conv.map_sizes[0]
    output_height, output_width = conv.map_sizes[1]
    rows, columns = live_taps(conv)
    for i, j in itertools.product(range(output_height), range(output_width)):
        top = i * conv.stride[0] - conv.padding[0]  # the pixel that tap 0, 0 meets, which may be padding
        left = j * conv.stride[1] - conv.padding[1]
        first = max(columns.start, -left)
        last = min(columns.stop, width - left)
        if first >= last:
            continue
        for row in range(max(rows.start, -top), min(rows.stop, height - top)):
            pixels = (every, top + row, slice(left + first, left + last))
            taps = (every, row - rows.start, slice(first - columns.start, last - columns.start))
            products.append(((every, i, j), pixels, taps))
    return products


def multiply(conv, products, x):
    """What `conv`, whose weight is [O, rows, columns, C] of live taps, makes of x [B, C, H, W]."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    x = x.to(dtype).permute(0, 2, 3, 1).contiguous()
    weight = conv.weight.to(dtype)
    y = PatchProducts.apply(x, weight, conv.map_sizes[1], products).permute(0, 3, 1, 2)
    if conv.bias is None:
        return y
    return y + conv.bias.to(dtype).view(-1, 1, 1)


@contextlib.contextmanager
def small_maps(net):
    """Within, each convolution onto a small map is a sum of matrix products over its live taps, its only parameters.

    Exact up to the order of summation, for outputs, gradients and Adam alike: the taps left out have no gradient, and
    Adam does not move a weight that never had one. At the end the live taps go back into the whole kernel.

    Small is, on a CPU, up to 2 x 2: the products take a fifth to a half of the convolution's time there, and at 4 x 4,
    with 40 thin ones a layer, more than all of it. On a GPU, where a product costs a launch, it is 1 x 1. Larger maps
    stay convolutions; on a CPU with more than one channel they are faster with channels last (1.3 to 1.7 times).
    """
    on_cpu = next(net.parameters()).device.type == "cpu"
    if on_cpu and not any(layer.in_channels == 1 for layer in net.modules() if isinstance(layer, nn.Conv2d)):
        net.to(memory_format=torch.channels_last)
    whole = {}
    for conv in net.modules():
        if not isinstance(conv, nn.Conv2d) or conv.dilation != (1, 1) or conv.groups > 1:
            continue
        if max(conv.map_sizes[1]) <= (2 if on_cpu else 1):
            whole[conv] = conv.weight
            live = conv.weight.detach()[(..., *live_taps(conv))].permute(0, 2, 3, 1)
            conv.weight = nn.Parameter(live.clone(memory_format=torch.contiguous_format))
            conv.forward = functools.partial(multiply, conv, patch_rows(conv))
    try:
        yield net
    finally:
        with torch.no_grad():
            for conv, weight in whole.items():
                weight[(..., *live_taps(conv))] = conv.weight.permute(0, 3, 1, 2)
                conv.weight = weight
                del conv.forward


# ---------------------------------------------------------------------------------------- training and evaluation


@torch.inference_mode()
def predict(net, images, precision="fp32"):
    """The predicted class of every image, int64 [N], in eval mode and in the images' order."""
    net.eval()
    with autocast(images.device, precision):
        return torch.cat([net(pixels(part)).argmax(1) for part in images.split(500)])  # larger is no faster


def autocast(device, precision):
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def evaluate(net, data, precision="fp32"):
    """Test accuracy in %, over all images (float) and per class (list of floats)."""
    right = (predict(net, data.test_images, precision) == data.test_labels).double()
    classes = DATASETS[data.name][0]
    hits = torch.zeros(classes, dtype=torch.float64, device=right.device).index_add_(0, data.test_labels, right)
    sizes = data.test_labels.bincount(minlength=classes)
    return 100 * right.mean().item(), (100 * hits / sizes).tolist()


# Whatever is drawn comes from a stream of its own, numpy.random.default_rng([seed, stream]), save the initial weights:
# torch.manual_seed(seed). Stream 0 is select.py's, 4 is prune.py's, 5 and 6 are those of tests/crest.py.
FIRST_TRAINING, FINE_TUNING, POSITIONS = 1, 2, 3


def fit(net, data, args, stream, subset=None, share=1.0, hold=False, batchnorm="train", watch=None):
    """Train `net` in place with a fresh Adam, args.epochs passes over the training set or its `subset` (int64 [M]).

    stream: FIRST_TRAINING or FINE_TUNING; of it and args.seed comes the order of the samples.
    share: an epoch is only this share of the samples, and the next one goes on where it stopped if the pass has a whole
    epoch left, else with a new pass; above 1 it is several passes.
    hold: whether prunable weights that are zero stay zero.
    batchnorm: "train", or "frozen" to train in eval mode.
    watch(logits): called after every epoch with what the network answered when it last saw each sample, float32 [N, C].

    Returns what a checkpoint keeps: {"accuracy": test accuracy in % before training and after each epoch,
    "class_accuracy": of the last epoch, "loss": mean training loss of each epoch, "seconds": of it all}. Exits with
    one line if the loss is not finite.
    """
    start = time.perf_counter()
    labels = data.train_labels
    samples = torch.arange(len(labels)) if subset is None else torch.from_numpy(subset)
    check_epoch(net, len(samples), share, args.batch_size, batchnorm)
    orders = sample_orders(samples, share, np.random.default_rng([args.seed, stream]))
    torch.manual_seed(int(np.random.SeedSequence([args.seed, stream]).generate_state(1)[0]))  # where there is dropout
    logits = torch.zeros(len(labels), DATASETS[data.name][0], device=labels.device)
    with small_maps(net):
        accuracy, class_accuracy = evaluate(net, data, args.precision)
        history = {"accuracy": [accuracy], "class_accuracy": class_accuracy, "loss": []}
        net.train(batchnorm == "train")  # a GPU records its step in this mode; evaluation leaves it
        step = training_step(net, data, logits, args, hold)
        for epoch in range(1, args.epochs + 1):
            net.train(batchnorm == "train")
            order = next(orders).to(labels.device)
            for batch in with_progress(order.split(args.batch_size), epoch, args.epochs):
                step(batch)
            losses = F.cross_entropy(logits[order], labels[order], reduction="none")
            fail_unless_finite(losses, epoch, args.batch_size)
            accuracy, class_accuracy = evaluate(net, data, args.precision)
            history["accuracy"].append(accuracy)
            history["class_accuracy"] = class_accuracy
            history["loss"].append(losses.mean().item())
            if watch:
                watch(logits)
            say_epoch(history, args.epochs, time.perf_counter() - start)
    return history | {"seconds": time.perf_counter() - start}


def check_epoch(net, samples, share, batch_size, batchnorm):
    """Exit with one line if the network cannot be trained on epochs of that share of so many samples."""
    size = round(share * samples)
    if size == 0:
        fail(f"--share {share} of {samples} samples is none")
    if (size - 1) % batch_size == 0 and batchnorm == "train" and "BatchNorm" in str(net):
        fail(f"the last of {size} samples would be a batch alone, too little for BatchNorm; change --batch-size")


def sample_orders(samples, share, shuffle):
    """Yield, epoch after epoch, the order in which it takes the samples: int64 [round(share * M)] of `samples` [M].

    An epoch takes what the last pass over the samples left, if that is enough, else the first part of a new pass, or of
    as many passes as share asks for.
    """
    size = round(share * len(samples))
    left = samples[:0]
    while True:
        if len(left) < size:
            passes = [shuffle.permutation(len(samples)) for _ in range(math.ceil(share))]
            left = samples[torch.from_numpy(np.concatenate(passes))]
        yield left[:size]
        left = left[size:]


def with_progress(batches, epoch, epochs):
    """The batches; on a terminal, a line every 30 seconds tells how many of them are done."""
    script = Path(sys.argv[0]).stem
    told = time.perf_counter()
    for done, batch in enumerate(batches):
        if sys.stdout.isatty() and time.perf_counter() - told > 30:
            told = time.perf_counter()
            say(f"{script:8} epoch {epoch}/{epochs}  step {done} of {len(batches)}")
        yield batch


def fail_unless_finite(losses, epoch, batch_size):
    """Exit with one line that names the first step with a loss, of losses [M] by sample, that is not finite."""
    infinite = losses.isfinite().logical_not().nonzero()
    if len(infinite):
        step = int(infinite[0]) // batch_size + 1
        fail(f"the loss is not finite in epoch {epoch}, step {step}: try a smaller --lr; nothing was written")


def say_epoch(history, epochs, seconds):
    """The line that ends an epoch; seconds: since the training began."""
    script = Path(sys.argv[0]).stem
    epoch = len(history["loss"])
    left = seconds / epoch * (epochs - epoch)
    say(
        f"{script:8} epoch {epoch}/{epochs}  loss {history['loss'][-1]:.4f}  "
        f"test {history['accuracy'][-1]:.2f} %  left {duration(left)}"
    )


def duration(seconds):
    """A time as people say it: 40 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def training_step(net, data, logits, args, hold):
    """step(batch) trains on the samples int64 [B] and writes what the network answered into their rows of `logits`.

    Nothing in it waits for the device: loss and accuracy of an epoch are worked out from the logits at its end.
    """
    held = [layer.weight for layer in prunable(net).values() if hold and (layer.weight == 0).any()]
    masks = [(weight != 0).to(weight.dtype) for weight in held]
    on_gpu = logits.device.type == "cuda"
    unordered = sums_in_no_order(net)
    if on_gpu and unordered:
        say(f"a GPU gives this network other bits every time: {', '.join(unordered)} sums in no fixed order")
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr, fused=True, capturable=on_gpu)

    def step(batch):
        with autocast(logits.device, args.precision):
            output = net(pixels(data.train_images.index_select(0, batch), logits.dtype)).to(logits.dtype)
        optimizer.zero_grad()
        F.cross_entropy(output, data.train_labels.index_select(0, batch)).backward()
        optimizer.step()
        with torch.no_grad():
            logits.index_copy_(0, batch, output)
            for weight, mask in zip(held, masks):
                weight.mul_(mask)

    return graphed(step, net, optimizer, args.batch_size) if on_gpu else step


def sums_in_no_order(net):
    """The names of layers whose gradients CUDA adds up in no fixed order: pooling onto maps of a given size."""
    names = []
    for name, layer in net.named_modules():
        if isinstance(layer, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)) and layer.output_size not in (1, (1, 1)):
            names.append(name)
    return names


def graphed(step, net, optimizer, batch_size):
    """`step` recorded as one CUDA graph and replayed for every full batch: Python launches it too slowly by far.

    A smaller last batch is stepped eagerly; so is every batch, with a line that says why, if recording fails.
    """
    batch = torch.zeros(batch_size, dtype=torch.int64, device=next(net.parameters()).device)
    state = net.state_dict()
    initial = {name: tensor.clone() for name, tensor in state.items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the first steps allocate memory and choose kernels, which a recording must not
        for _ in range(3):
            step(batch)
    torch.cuda.current_stream().wait_stream(side)
    for name, tensor in state.items():  # those steps trained: put everything back, in place
        tensor.copy_(initial[name])
    for moments in optimizer.state.values():
        for tensor in moments.values():
            tensor.zero_()
    optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            step(batch)
    except RuntimeError as error:
        say(f"no CUDA graph, every step is launched from Python: {first_line(error)}")
        return step

    def replay(samples):
        if len(samples) < batch_size:
            return step(samples)
        batch.copy_(samples)
        graph.replay()

    return replay


# --------------------------------------------------------------------------------------------------------- files


def contents(path):
    """A file's bytes as they are now, whatever is written over it later, as a file in memory. A pipe is none."""
    if not Path(path).is_file():
        raise FileNotFoundError("there is no such file")
    return io.BytesIO(Path(path).read_bytes())


def load_pt(path):
    """What torch.save wrote to `path`, in memory that is no larger than the file; raises what is wrong with it."""
    file = contents(path)
    archive = zipfile.ZipFile(file)
    if sum(entry.file_size for entry in archive.infolist()) > len(file.getbuffer()):
        raise ValueError("it is compressed, which torch.save does not do")
    if archive.testzip():  # torch.load compares no checksum
        raise ValueError("it is damaged")
    file.seek(0)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # its words are for programmers
        raise ValueError("it is damaged, or holds more than tensors and plain values") from None
    if any(torch.is_tensor(x) and x.nbytes > x.untyped_storage().nbytes() for x in tree_leaves(content)):
        raise ValueError("it has a tensor larger than its numbers")
    return content


@contextlib.contextmanager
def replacing(path):
    """A handle to write `path` through: the file appears whole, under its name, or not at all."""
    partial = partial_path(path)
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, os.path.realpath(path))
    except OSError as error:
        fail(f"cannot write {path} ({error.strerror or first_line(error)})")
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def partial_path(path):
    """Where an output is written before it is moved to its place, through links; no other process writes there."""
    return Path(f"{os.path.realpath(path)}.{platform.node()}.{os.getpid()}.tmp")


def can_be_written(folder):
    """Whether a file can be made in the folder."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def write(path, content):
    """torch.save by way of memory: straight to a file, it calls a full disk a defect of its own."""
    buffer = io.BytesIO()
    try:
        torch.save(content, buffer)
    except RuntimeError:  # what its zip writer says where the buffer cannot grow
        raise MemoryError from None
    with replacing(path) as file:
        file.write(buffer.getbuffer())


HISTORY = ("accuracy", "class_accuracy", "loss", "seconds")  # what `fit` returns
KEPT = (*HISTORY, "device", "versions")  # what a checkpoint keeps of earlier steps; older ones have no device, versions


def is_list(value, kind):
    """Whether it is a list of nothing but `kind`."""
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def is_dict(value, kind):
    """Whether it is a dict whose values are nothing but `kind`."""
    return isinstance(value, dict) and all(isinstance(item, kind) for item in value.values())


def is_steps(value):
    """Whether it is what a checkpoint keeps as "args": {step: {flag: number or text}}."""
    return is_dict(value, dict) and all(is_dict(told, (int, float, str)) for told in value.values())


def is_history(value):
    """Whether a dict has the history of a step among its values, and where it was made, if it tells that."""
    numbers = (int, float)
    return (
        is_list(value.get("accuracy"), numbers)
        and is_list(value.get("class_accuracy"), numbers)
        and is_list(value.get("loss"), numbers)
        and isinstance(value.get("seconds"), numbers)
        and isinstance(value.get("device", ""), str)
        and is_dict(value.get("versions", {}), str)
    )


def is_checkpoint(value):
    """Whether it is what `save` writes."""
    return (
        isinstance(value, dict)
        and is_dict(value.get("model"), torch.Tensor)
        and is_steps(value.get("args"))
        and is_history(value)
        and {"device", "versions"} <= set(value)
        and is_dict(value.get("earlier"), dict)
        and all(is_history(history) for history in value["earlier"].values())
    )


def save(path, net, steps, history, before=None):
    """Write a checkpoint, a plain dict. steps: {step: its flags}, the last of them the one that made `history`.

    before: the checkpoint that the step began with, whose steps are kept, and whose history becomes part of "earlier",
    {step: its history, device and versions}. A step that is done again gets a number: prune, finetune, prune-2.
    """
    earlier = {}
    if before:
        last_step = list(before["args"])[-1]
        earlier = before["earlier"] | {last_step: {key: before[key] for key in KEPT}}
        steps = before["args"] | {numbered(script, before["args"]): told for script, told in steps.items()}
    versions = {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "numpy")}
    checkpoint = {
        "model": {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()},
        "args": steps,
        **{key: history[key] for key in HISTORY},
        "earlier": earlier,
        "versions": {"python": platform.python_version(), **versions},
        "device": device_name(next(net.parameters()).device),
    }
    write(path, checkpoint)


def numbered(script, steps):
    """The name of a script's step that comes after those of steps: done again, it gets a number, as prune-2."""
    times = sum(script_of(step) == script for step in steps)
    if times == 0:
        return script
    return f"{script}-{times + 1}"


def script_of(step):
    """The script that made a step, of its name: prune of prune-2."""
    return step.split("-")[0]


def read(path):
    """A checkpoint from `path`; exits with one line if it is missing, damaged or something else."""
    try:
        checkpoint = load_pt(path)
        if not is_checkpoint(checkpoint):
            raise TypeError("its parts are of other types")
    except Exception as error:
        fail(f"{path} is not a checkpoint of this suite ({first_line(error)})")
    use_new_words(checkpoint["args"])
    return checkpoint


def use_new_words(steps):
    """Change the flags {step: its flags} of older files, in place: `--ties random` was `--ties lot`."""
    if steps.get("select", {}).get("ties") == "lot":
        steps["select"]["ties"] = "random"


def first_training(checkpoint):
    """The flags of the training from scratch: train.py's, or forget.py's of the baseline."""
    steps = checkpoint["args"]
    return steps["train"] if "train" in steps else steps["forget"]


def restore(path, args):
    """The checkpoint at `path`, its network and its data set, on the device of `args`."""
    checkpoint = read(path)
    try:
        origin = first_training(checkpoint)
        net = build(origin["model"], origin["dataset"], origin["seed"])
        load_weights(net, checkpoint["model"])
        classes, shape, *_ = DATASETS[origin["dataset"]]
        with torch.inference_mode():
            if net.eval()(torch.zeros(2, *shape)).shape != (2, classes):
                raise ValueError("its layers do not fit")
        if not all(tensor.isfinite().all() for tensor in net.state_dict().values()):
            raise ValueError("it has a weight that is not finite")
        for flag in ("data", "epochs"):  # later steps ask for them
            if flag not in origin:
                raise KeyError(flag)
    except Exception as error:
        fail(f"{path} is not a checkpoint of this suite ({first_line(error)})")
    data = load(origin["dataset"], args.data, args.device)
    if data.facts["data"] != origin["data"]:
        fail(f"{path} was trained on other data than {args.data}/{data.name}.pt; give the same --data")
    return checkpoint, net.to(args.device), data


def load_weights(net, state):
    """Give the network all values of a state_dict, whose layers may be smaller, as prune.py cuts channels.

    ValueError says what the state_dict lacks, or has besides.
    """
    for prefix, origin in (("module.", "DataParallel"), ("_orig_mod.", "torch.compile")):
        if all(name.startswith(prefix) for name in state):
            raise ValueError(f"its weights are those of a wrapper, {origin}: take {prefix} off their names")
    for name, tensor in net.state_dict(keep_vars=True).items():
        if name not in state:
            raise ValueError(f"it has no weight {name}")
        tensor.data = tensor.data.new_empty(state[name].shape)
    for name in state:
        if name not in net.state_dict():
            raise ValueError(f"it has a weight {name}, which the network has not")
    net.load_state_dict(state)


def load_subset(path):
    """The indices in `path`, int64 [M], ascending, and the flags of the steps that chose them (or {})."""
    try:
        file = contents(path)
        subset = np.lib.format.read_array(file)
        steps = json.loads(file.read() or "{}")
        if not is_steps(steps) or not set(steps) <= {"forget", "select"}:
            raise ValueError("what follows the array are not the flags of steps")
    except Exception as error:
        fail(f"cannot read the subset {path} ({first_line(error)})")
    if subset.dtype.kind not in "iu" or subset.ndim != 1:
        fail(f"{path} must hold integers [M], not {subset.dtype} {list(subset.shape)}")
    use_new_words(steps)
    if len(subset) == 0:
        fail(f"{path} is empty")
    if len(np.unique(subset)) < len(subset):
        fail(f"{path} names a sample more than once")
    return np.sort(subset.astype(np.int64)), steps


# --------------------------------------------------------------------------------------------------- command line


NO_MEMORY = "not enough memory: lower --batch-size or --threads, or run fewer jobs at once, make -j1"


def first_line(error):
    """What an exception says, in a line of at most 200 characters."""
    if is_of_memory(error):
        return NO_MEMORY
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def is_of_memory(error):
    """Whether an exception says that memory is short, the computer's or the GPU's."""
    words = ("allocate memory", "out of memory", "ALLOC_FAILED", "failed to map segment")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def on_uncaught(kind, error, traceback):
    """In place of sys.excepthook: where memory runs out, a line says what to lower."""
    if is_of_memory(error):
        complain(NO_MEMORY)
    else:
        sys.__excepthook__(kind, error, traceback)


def cpuinfo(field, default):
    """What Linux tells of the first processor."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith(field):
                return line.partition(": ")[2]
    return default


ARITHMETIC = (  # environment variables by which oneDNN, MKL and cuBLAS choose other sums
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "DNNL_CPU_ISA_HINTS",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "CUBLAS_WORKSPACE_CONFIG",
)


def device_name(device):
    """What a result's bits depend on: the hardware, a CPU's instruction set and threads, and what ARITHMETIC says."""
    if device.type == "cpu":
        words = [cpuinfo("model name", platform.machine())]
        words += [torch.backends.cpu.get_cpu_capability(), f"threads {torch.get_num_threads()}"]
    else:
        words = [torch.cuda.get_device_name(device)]
    words += [f"{name}={os.environ[name]}" for name in ARITHMETIC if name in os.environ]
    return printable(", ".join(words))


class Parser(argparse.ArgumentParser):
    """argparse with one line per error, the flags that several scripts share, and the checks that need no data."""

    def __init__(self, doc, **kwargs):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message):
        fail(f"{message} (see --help)", 2)

    def add_network_flags(self):
        self.add_argument("--dataset", required=True, choices=DATASETS, help="the data set")
        self.add_argument("--model", required=True, help="fcnet, lenet or a torchvision classification model")

    def add_device_flags(self):
        self.add_argument("--data", default="data", metavar="DIR", help="folder of the data sets (default: data)")
        self.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda if there is one, else cpu)")
        threads = number(int, lambda n: 0 < n <= 1024, "a whole number from 1 to 1024")
        self.add_argument("--threads", type=threads, default=1, help="CPU threads; bits depend on it (default: 1)")
        self.add_argument(
            "--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast (default: fp32)"
        )

    def add_training_flags(self, seeded="initial weights and the order of samples"):
        self.add_argument("--seed", type=SEED, default=0, help=f"of {seeded} (default: 0)")
        self.add_argument("--epochs", type=NATURAL, default=10, help="passes over the samples (default: 10)")
        self.add_argument("--batch-size", type=POSITIVE, default=64, help="samples in a step (default: 64)")
        rate = number(float, lambda lr: 0 < lr < float("inf"), "a positive number")
        self.add_argument("--lr", type=rate, default=1e-3, help="Adam's learning rate (default: 1e-3)")

    def start(self, *outputs):
        """Parse the command line, check that the files of the flags `outputs` can be written, set up the device."""
        open_closed_streams()
        sys.excepthook = on_uncaught
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        args = self.parse_args()
        warnings.filterwarnings("ignore", module="torch")  # torchvision, too: words for programmers
        paths = [getattr(args, name) for name in outputs]
        claim([path for path in paths if path is not None], input_paths(args))
        if "device" in args:
            self.set_up_device(args)
        return args

    def set_up_device(self, args):
        """Make args.device a torch.device that can be used, set the number of threads and what arithmetic may do."""
        usual = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            args.device = torch.device(args.device or usual)
            if args.device.type not in ("cpu", "cuda"):
                raise RuntimeError("it is neither cpu nor cuda")
            args.device = torch.empty(0, device=args.device).device  # set_device wants cuda:0, not cuda
            if args.device.type == "cuda":
                torch.cuda.set_device(args.device)
        except (RuntimeError, AssertionError) as error:
            self.error(f"argument --device: {args.device} cannot be used ({first_line(error)})")
        torch.set_num_threads(args.threads)
        if args.precision == "bf16" and args.device.type == "cpu" and "bf16" not in cpuinfo("flags", "bf16"):
            say("bf16 is slower than fp32 here: this processor has no instructions for it")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
        torch.backends.cuda.matmul.allow_tf32 = False  # TORCH_ALLOW_TF32_CUBLAS_OVERRIDE turns it on


def asked_flags(text):
    """The training flags {flag: value} in one text, which make hands on as --asked; "tune_epochs": of fine-tuning."""
    parser = Parser("")
    parser.add_training_flags()
    parser.add_device_flags()
    parser.add_argument("--tune-epochs", type=NATURAL)
    flags = vars(parser.parse_args(shlex.split(text)))
    if flags["tune_epochs"] is None:
        flags["tune_epochs"] = flags["epochs"]
    return flags


def open_closed_streams():
    """Let stdout and stderr be there, if they were closed, and take every character: not all know "±"."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's has none, and needs none
        sys.stdout.reconfigure(errors="backslashreplace")


def number(kind, holds, words):
    """An argparse type: a number of `kind`, int or float, for which `holds`; `words` say what it must be."""

    def parse(text):
        value = kind(text)
        if not holds(value):
            raise argparse.ArgumentTypeError(f"{text} is not {words}")
        return value

    parse.__name__ = kind.__name__  # argparse: "invalid int value"
    return parse


POSITIVE = number(int, lambda n: 0 < n < 2**31, "a whole number from 1 to 2**31 - 1")
NATURAL = number(int, lambda n: 0 <= n < 2**31, "a whole number from 0 to 2**31 - 1")
SEED = number(int, lambda n: 0 <= n < 2**32, "a whole number from 0 to 2**32 - 1, which torch can tell apart")


def input_paths(args):
    """The paths of every file that a script may read, by its flags, data sets included."""
    paths = [getattr(args, flag, None) for flag in ("in", "start", "subset")]
    paths += getattr(args, "inputs", [])
    if "data" in args:
        paths += [os.path.join(args.data, f"{name}.pt") for name in DATASETS]
    return [path for path in paths if path is not None]


def claim(paths, inputs=()):
    """Make the folders of the outputs and check that each can be written, before hours are spent on them.

    None of them may be one of the inputs, or another output, through links, too.
    """
    for path in paths:
        try:
            target = Path(os.path.realpath(path))
            if not path:
                raise ValueError("it is no path")
            if target.is_dir():
                raise ValueError("it is a folder")
            if target.exists() and not target.is_file():
                raise ValueError("it is no regular file")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = partial_path(path)
            with open(partial, "wb"):
                partial.unlink()
        except (OSError, ValueError) as error:
            fail(f"cannot write '{path}' ({getattr(error, 'strerror', None) or first_line(error)})")
    outputs = {os.path.realpath(path): path for path in paths}
    if len(outputs) < len(paths):
        fail(f"two outputs are one file ({', '.join(paths)}); give each a path of its own")
    for path in inputs:
        if os.path.realpath(path) in outputs:
            fail(f"the output {outputs[os.path.realpath(path)]} is an input, too ({path}); give it a path of its own")


def flags(args, data):
    """What a checkpoint says of one step: its flags, less the paths, and the facts of its data."""
    paths = ("data", "out", "in", "subset", "scores", "correct", "errors")
    told = {flag: value for flag, value in vars(args).items() if flag not in paths}
    told["device"] = str(args.device)
    return told | data.facts


def check_seed(path, steps, args):
    """Exit with one line if --seed is not that of the steps {step: its flags} which made the input `path`."""
    for step, flags in steps.items():
        if flags.get("seed", args.seed) != args.seed:
            fail(f"--seed {args.seed}: {path} is of seed {flags['seed']} ({step}), and the steps of a run share theirs")


def check_subset(subset, steps, data, args):
    """Exit with one line if `subset`, and the flags of the steps that chose it, do not belong to the data set.

    A line says which classes the subset lacks.
    """
    check_seed(args.subset, steps, args)
    size = len(data.train_labels)
    scored = steps.get("select", {}).get("train_size", size)  # older subsets do not tell it
    if scored != size:
        fail(f"{args.subset} was chosen by {scored} scores, and {args.data}/{args.dataset}.pt has {size} samples")
    if subset.min() < 0 or subset.max() >= size:
        fail(f"{args.subset} holds indices outside 0 to {size - 1}, the training set's")
    if "forget" in steps and steps["forget"].get("data") != data.facts["data"]:
        fail(f"{args.subset} was chosen from other data than {args.data}/{args.dataset}.pt; score and select again")
    classes = set(range(DATASETS[data.name][0]))
    lacking = sorted(classes - set(data.train_labels[torch.from_numpy(subset)].tolist()))
    if lacking:
        first = ", ".join(map(str, lacking[:8]))
        more = ", ..." if len(lacking) > 8 else ""
        say(f"train    no sample of {len(lacking)} of {len(classes)} classes: {first}{more}")


def main():
    parser = Parser(__doc__)
    parser.add_network_flags()
    parser.add_argument("--subset", metavar="IN.npy", help="train on these samples, int64 [M] (default: on all)")
    share = number(float, lambda share: 0 < share <= 1000, "above 0 and at most 1000")
    parser.add_argument("--share", type=share, default=1.0, help="passes over the samples in an epoch (default: 1)")
    parser.add_training_flags()
    parser.add_device_flags()
    parser.add_argument("--out", required=True, metavar="OUT.pt", help="the checkpoint to write")
    args = parser.start("out")

    subset = None
    steps = {}
    if args.subset:
        subset, steps = load_subset(args.subset)
    net = build(args.model, args.dataset, args.seed).to(args.device)
    data = load(args.dataset, args.data, args.device)
    size = len(data.train_labels)
    told = flags(args, data)
    if subset is not None:
        check_subset(subset, steps, data, args)
        size = len(subset)
        told["subset"] = hashlib.sha256(subset).hexdigest()[:16]
        told["subset_size"] = size
        if "select" not in steps:
            told["name"] = printable(Path(args.subset).stem)
    told["samples"] = round(args.share * size)
    history = fit(net, data, args, FIRST_TRAINING, subset, args.share)
    save(args.out, net, steps | {"train": told}, history)


if __name__ == "__main__":
    main()
