"""CREST in place of a fixed coreset: mini-batch coresets chosen while training.

    python tests/crest.py --dataset MNIST --model lenet --share 0.1 --out x.pt

The paper ends on the question whether a rigorous framework such as CREST (Yang,
Kang, Mirzasoleiman, ICML 2023) changes its results (section 7). This is step 3
of the method by CREST: the steps and samples of `train.py --share`, its control
`matched`, each step on a coreset of a random set of the training data.
prune.py, finetune.py and report.py go on from the checkpoint.

    choose    P random sets of --random of every class. Of each, greedy facility
              location on softmax - one-hot takes a coreset of --batch-size
              samples; a sample's weight is how many of the random set are
              nearest to it.
    model     F(d) = L + g'd + d'Hd / 2 of the loss after the weights have moved
              by d: L of the random sets, g and the diagonal of H (Hutchinson,
              one vector of signs a coreset) of the weighted coresets.
    train     T1 steps, each on one coreset; then the check: choose again if
              |L(w + d) - F(d)| > tau * L(w + d).
    T1, P     1 and 5 at first, then ceil(|H at first| / |H|) and 5 T1, neither
              more than an epoch has steps.
    drop      after each epoch, for good, samples whose losses in random sets
              at choices were all below --learned.

tau, P and the random sets are as the authors' released program has them. It
departs from that program in

    setting      Adam, lr 1e-3, batch 64, ten epochs, no augmentation, no weight
                 decay, no schedule: the setting of the paper that is reproduced
                 here, not CREST's (SGD from lr 0.1, batch 128, 200 epochs,
                 augmentation)
    gradient     taken once; the program takes every step with twice the
                 gradient
    start        the first step is on a coreset; the program's first epoch is on
                 random mini-batches, at lr 0
    mini-batch   one coreset, with its own weights; the program shuffles all
                 coresets together, cuts the union anew, and gives a sample of
                 several coresets the weight of the last
    classes      a coreset is taken from all classes at once and has as many
                 samples as a step; the program takes ceil(batch / classes) of
                 each, 200 for CIFAR-100's batch of 128. Classes have their own
                 share of a random set; the program takes as many of each, which
                 is the same on CIFAR
    d, F(0)      what the weights moved by, and the loss of the random sets, so
                 that F = L at the choice; the program sums -lr * gradient, and
                 begins at the loss of the coresets
    BatchNorm    the gradients of the choice, L, g and H have the statistics of
                 their batch, as in a step; its running averages lag behind
                 Adam's first steps (ResNet18 after 40: a loss of 8.3 by them,
                 of 5.1 by the batch). The program chooses and has L in eval
                 mode, and F(0), g and H in train mode
    diagonal     the mean over the coresets chosen now; the program takes
                 AdaHessian's running root mean square over earlier ones, too,
                 which is the norm of a row of H and never negative. |H| here is
                 the Frobenius norm, the root mean square of |Hz|, which does
                 not depend on P
    check        runs the random sets; the program runs all training data
    T1           never more than the steps of an epoch; the program caps P alone
    --learned    on, in every epoch, by its losses alone, and as many as are
                 learned; the program drops nothing unless asked, every 20th
                 epoch, by the losses of five epochs, and a fifth at most

`crestfresh` of the Makefile is --renew always: chosen again at every check, P =
T1, and nothing is compared.
"""

import contextlib
import math
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from train import (
    DATASETS,
    Parser,
    autocast,
    build,
    check_epoch,
    evaluate,
    fail,
    fail_unless_finite,
    flags,
    load,
    number,
    pixels,
    save,
    say,
    say_epoch,
    small_maps,
    training_step,
    with_progress,
)

# Streams of the seed, numpy.random.default_rng([seed, stream]); train.py says who draws from the others.
RANDOM_SETS = 5
SIGNS = 6
FIRST_COUNT = 5  # coresets of the first choice, and for every step between two checks


class Coreset(NamedTuple):
    """Samples that stand for a random set, in the order in which greedy took them: the first k are a coreset of k."""

    random_set: torch.Tensor  # int64 [R]
    samples: torch.Tensor  # int64 [M], of these
    distances: torch.Tensor  # float32 [R, M], from each of the random set to each of the samples

    def weights(self, size):
        """How many of the random set are nearest to each of the first `size` samples, scaled to a mean of 1."""
        nearest = self.distances[:, :size].argmin(1)
        return nearest.bincount(minlength=size) * (size / len(nearest))


class Model(NamedTuple):
    """The loss as a quadratic function of d, by how much the weights, D of them, moved from `start`."""

    start: torch.Tensor  # float32 [D]
    loss: float
    gradient: torch.Tensor  # float32 [D]
    diagonal: torch.Tensor  # float32 [D], of the Hessian
    norm: float  # of the whole Hessian (Frobenius)

    def at(self, weights):
        """F(weights - start), a float."""
        d = weights - self.start
        return self.loss + (self.gradient @ d + (self.diagonal * d) @ d / 2).item()


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def facility_location(gradients, size):
    """Greedy: the places int64 [size] among gradients [R, C] that bring the sum of distances to the nearest down most.

    Returns them in the order taken, none twice, and the distances from all to them, [R, size].
    """
    distances = torch.cdist(gradients, gradients, compute_mode="donot_use_mm_for_euclid_dist")  # of twins exactly 0
    nearest = distances.max().repeat(len(gradients), 1)
    chosen = torch.zeros(size, dtype=torch.int64, device=gradients.device)
    for k in range(size):
        gains = (nearest - distances).clamp_(min=0).sum(0)
        gains[chosen[:k]] = -1
        chosen[k] = gains.argmax()
        nearest = torch.minimum(nearest, distances[:, chosen[k : k + 1]])
    return chosen, distances[:, chosen]


@contextlib.contextmanager
def as_in_a_step(net):
    """Within, the network answers as in training, but BatchNorm's running averages stay as they are."""
    norms = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    net.train()
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@torch.inference_mode()
def answers(net, data, random_sets, precision):
    """What the network answers for random sets int64 [R], each a batch: logits float32 [sum of R, C]."""
    with as_in_a_step(net), autocast(data.train_images.device, precision):
        return torch.cat([net(pixels(data.train_images[random_set])) for random_set in random_sets]).float()


def targets(data, samples, weights):
    """Weighted labels float32 [B, C]: cross-entropy with them is the weight times that with the label."""
    classes = DATASETS[data.name][0]
    return F.one_hot(data.train_labels[samples], classes) * weights[:, None]


def curvature(net, data, coreset, draw):
    """Of the weighted loss of a coreset, in float32: its gradient, Hz, and the signs z that were drawn, each [D].

    z * Hz is Hutchinson's estimate of the Hessian's diagonal.
    """
    parameters = list(net.parameters())
    samples = coreset.samples
    weighted = targets(data, samples, coreset.weights(len(samples)))
    with as_in_a_step(net):
        loss = F.cross_entropy(net(pixels(data.train_images[samples])), weighted)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    signs = [torch.from_numpy(draw.integers(0, 2, p.shape, dtype=np.int8)).to(p) * 2 - 1 for p in parameters]
    product = torch.autograd.grad(gradient, parameters, signs, materialize_grads=True)
    return flat(gradient), flat(product), flat(signs)


class Chooser:
    """Chooses coresets, checks the model, drops learned samples, and counts what all that costs."""

    def __init__(self, data, args, steps):
        """steps: those of an epoch."""
        self.data = data
        self.args = args
        self.steps = steps
        self.labels = data.train_labels.cpu().numpy()
        self.sizes = np.ceil(args.random * np.bincount(self.labels)).astype(int)  # of the classes in a random set
        if self.sizes.sum() < args.batch_size:
            drawn = f"--random {args.random} draws {self.sizes.sum()} samples"
            fail(f"{drawn}, fewer than --batch-size {args.batch_size}: give more of the one, or less of the other")
        self.sets = np.random.default_rng([args.seed, RANDOM_SETS])
        self.signs = np.random.default_rng([args.seed, SIGNS])
        self.left = np.ones(len(self.labels), dtype=bool)  # samples that are not dropped
        self.worst = np.full(len(self.labels), -1.0)  # highest loss of each sample in this epoch's random sets, or -1
        self.coresets = []
        self.model = None
        self.first_norm = None
        self.interval = 1  # T1: steps between two checks
        self.count = FIRST_COUNT  # P: coresets of the next choice
        self.age = 0  # steps since the last choice
        self.facts = {"chosen_samples": 0, "choosing_seconds": 0.0, "checks": 0, "renewals": 0, "dropped": 0}

    def batch(self, net, size):
        """The samples int64 [size] of the next step and their weights float32 [size], chosen again where need be."""
        began = time.perf_counter()
        if self.model is None or self.age % self.interval == 0 and not self.holds(net):
            self.renew(net)
        coreset = self.coresets[self.age % len(self.coresets)]
        self.age += 1
        found = coreset.samples[:size], coreset.weights(size)
        self.facts["choosing_seconds"] += time.perf_counter() - began
        return found

    def holds(self, net):
        """The check: whether the model still tells the loss of the random sets to a share tau."""
        if self.args.renew == "always":
            return False
        self.facts["checks"] += 1
        losses, _ = self.look(net, [coreset.random_set for coreset in self.coresets])
        loss = losses.mean().item()
        return abs(loss - self.model.at(flat(net.parameters()))) <= self.args.tau * loss

    def look(self, net, random_sets):
        """The losses float32 [R] of all samples of random sets, and softmax - one-hot [R, C], gradients in logits."""
        samples = torch.cat(random_sets)
        self.facts["chosen_samples"] += len(samples)
        logits = answers(net, self.data, random_sets, self.args.precision)
        labels = self.data.train_labels[samples]
        losses = F.cross_entropy(logits, labels, reduction="none")
        return losses, logits.softmax(1) - F.one_hot(labels, logits.shape[1])

    def renew(self, net):
        """Choose coresets, make the model of the loss where the network is now, and set T1 and P by it."""
        self.facts["renewals"] += 1
        self.age = 0
        random_sets = [self.random_set() for _ in range(self.count)]
        losses, gradients = self.look(net, random_sets)
        loss = losses.mean().item()
        np.maximum.at(self.worst, torch.cat(random_sets).cpu().numpy(), losses.cpu().numpy())
        self.coresets = []
        for random_set, part in zip(random_sets, gradients.split(len(random_sets[0]))):
            chosen, distances = facility_location(part, self.args.batch_size)
            self.coresets.append(Coreset(random_set, random_set[chosen], distances))
        self.model = self.model_at(net, loss)
        self.schedule()

    def schedule(self):
        """T1 and P: the smaller the curvature beside that of the first choice, the longer the model should hold."""
        if not math.isfinite(self.model.loss + self.model.norm):
            fail("the loss or its curvature is not finite: try a smaller --lr; nothing was written")
        self.first_norm = self.first_norm or self.model.norm
        ratio = self.first_norm / max(self.model.norm, sys.float_info.min)
        self.interval = math.ceil(min(max(ratio, 1), self.steps))
        for_a_step = 1 if self.args.renew == "always" else FIRST_COUNT
        self.count = min(self.interval * for_a_step, self.steps)

    def random_set(self):
        """A share of every class, int64 [R], without replacement, of the samples that are left."""
        parts = [np.flatnonzero(self.left & (self.labels == label)) for label in range(len(self.sizes))]
        drawn = [self.sets.choice(part, size, replace=False) for part, size in zip(parts, self.sizes)]
        return torch.from_numpy(np.concatenate(drawn)).to(self.data.train_labels.device)

    def model_at(self, net, loss):
        """The Model at the weights that the network has, from all coresets."""
        gradient = 0
        diagonal = 0
        square = 0.0
        for coreset in self.coresets:
            self.facts["chosen_samples"] += len(coreset.samples)
            found, product, signs = curvature(net, self.data, coreset, self.signs)
            gradient = gradient + found / len(self.coresets)
            diagonal = diagonal + signs * product / len(self.coresets)
            square += (product @ product).item() / len(self.coresets)
        return Model(flat(net.parameters()), loss, gradient, diagonal, math.sqrt(square))

    def drop_learned(self):
        """After an epoch: drop samples learned whenever seen, but leave every class enough for a random set."""
        learned = self.left & (self.worst >= 0) & (self.worst < self.args.learned)
        for label, size in enumerate(self.sizes):
            own = self.labels == label
            if (self.left & own & ~learned).sum() >= size:
                self.left &= ~(own & learned)
        self.worst[:] = -1
        self.facts["dropped"] = int((~self.left).sum())


def fit_on_coresets(net, data, args):
    """Train `net` in place as train.fit does with args.share, on coresets.

    Returns what a checkpoint keeps, see train.fit, and the facts of this step: {"samples": in an epoch,
    "chosen_samples": forward passes of choosing and checking, "choosing_seconds", "checks", "renewals", "dropped"}.
    """
    start = time.perf_counter()
    check_epoch(net, len(data.train_labels), args.share, args.batch_size, "train")
    samples = round(args.share * len(data.train_labels))
    sizes = [len(part) for part in torch.arange(samples).split(args.batch_size)]
    torch.manual_seed(int(np.random.SeedSequence([args.seed, RANDOM_SETS]).generate_state(1)[0]))  # for dropout
    chooser = Chooser(data, args, len(sizes))
    logits, labels = torch.zeros(2, len(data.train_labels), DATASETS[data.name][0], device=data.train_labels.device)
    with small_maps(net):
        accuracy, class_accuracy = evaluate(net, data, args.precision)
        history = {"accuracy": [accuracy], "class_accuracy": class_accuracy, "loss": []}
        net.train()
        step = training_step(net, data._replace(train_labels=labels), logits, args, hold=False)
        for epoch in range(1, args.epochs + 1):
            losses = []
            for size in with_progress(sizes, epoch, args.epochs):
                batch, weights = chooser.batch(net, size)
                labels.index_copy_(0, batch, targets(data, batch, weights))
                net.train()
                step(batch)
                losses.append(F.cross_entropy(logits[batch], labels[batch], reduction="none"))
            losses = torch.cat(losses)
            fail_unless_finite(losses, epoch, args.batch_size)
            chooser.drop_learned()
            accuracy, class_accuracy = evaluate(net, data, args.precision)
            history["accuracy"].append(accuracy)
            history["class_accuracy"] = class_accuracy
            history["loss"].append(losses.mean().item())
            say_epoch(history, args.epochs, time.perf_counter() - start)
    return history | {"seconds": time.perf_counter() - start}, {"samples": samples} | chooser.facts


def main():
    parser = Parser(__doc__)
    parser.add_network_flags()
    share = number(float, lambda share: 0 < share <= 1, "above 0 and at most 1")
    tau = number(float, lambda tau: 0 <= tau < math.inf, "a number that is not negative")
    parser.add_argument("--share", type=share, required=True, help="of the data, in an epoch's steps, as in train.py")
    parser.add_argument("--random", type=share, default=0.01, help="share of a class in a random set (default: 0.01)")
    parser.add_argument(
        "--renew", choices=["failed", "always"], default="failed", help="choose again at which checks (default: failed)"
    )
    parser.add_argument("--tau", type=tau, default=0.1, help="error of the model that fails a check (default: 0.1)")
    parser.add_argument(
        "--learned", type=tau, default=0.1, help="a sample with less loss is learned; 0: none (default: 0.1)"
    )
    parser.add_training_flags("initial weights and random sets")
    parser.add_device_flags()
    parser.add_argument("--out", required=True, metavar="OUT.pt", help="the checkpoint to write")
    args = parser.start("out")

    net = build(args.model, args.dataset, args.seed).to(args.device)
    data = load(args.dataset, args.data, args.device)
    history, facts = fit_on_coresets(net, data, args)
    save(args.out, net, {"train": flags(args, data) | facts}, history)
    share_of_time = 100 * facts["choosing_seconds"] / history["seconds"]
    say(
        f"crest    {facts['renewals']} choices, {facts['checks']} checks, {facts['dropped']} samples dropped: "
        f"{share_of_time:.0f} % of the time  {args.out}"
    )


if __name__ == "__main__":
    main()
