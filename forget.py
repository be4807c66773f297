"""Step 1 of the method: train on all data, count how often samples are forgotten.

    python forget.py --dataset MNIST --model fcnet --seed 0 \\
        --scores forget.npy --correct correct.npy --out dense.pt

After every epoch the network is evaluated on the whole training set. A sample
is forgotten when it is classified correctly at the end of one epoch and
incorrectly at the end of the next; its score is the number of times. A sample
that is never learned therefore scores 0, like one that is never forgotten. The
network at the end is the baseline.

The defaults follow the paper's text (section 3.2). --events flipped --positions
shuffled --batchnorm frozen do what the authors' released program did. --events
toneva is the definition of Toneva et al. (2019, algorithm 1): counted when the
sample is presented in training, and a never-learned sample gets the highest
score, the number of epochs.

--errors keeps what other orders of select.py go by: how far the network's
answers are from the labels at the end.
"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -P leaves it out

import json

import numpy as np
import torch
import torch.nn.functional as F

from train import (
    FIRST_TRAINING,
    POSITIONS,
    Parser,
    autocast,
    build,
    fit,
    flags,
    load,
    pixels,
    predict,
    replacing,
    save,
    say,
    small_maps,
)

NEVER_LEARNED = {"forgotten": "lowest", "flipped": "not special", "toneva": "highest"}  # events: its place by score


def score(predictions, correct, events):
    """The forgetting score of every sample, int64 [N], from predictions int64 [T, N] and correct bool [T, N].

    forgotten: changes from correct to incorrect between consecutive epochs (paper, section 3.2).
    flipped: any change of prediction (the authors' program).
    toneva: as forgotten, but T for a sample that was never correct (Toneva et al., 2019).
    """
    if events == "flipped":
        return (predictions[1:] != predictions[:-1]).sum(0)
    scores = (correct[:-1] & ~correct[1:]).sum(0)
    if events == "toneva":
        scores[~correct.any(0)] = len(correct)
    return scores


def errors(net, data, precision):
    """softmax - one-hot of every training sample, float32 [N, classes], in eval mode.

    That is the gradient of its loss in the last layer's outputs; its L2 norm is EL2N (Paul et al., 2021).
    """
    net.eval()
    with small_maps(net), torch.inference_mode(), autocast(data.train_images.device, precision):
        logits = torch.cat([net(pixels(part)).float() for part in data.train_images.split(500)])
    return (logits.softmax(1) - F.one_hot(data.train_labels, logits.shape[1])).cpu().numpy()


def write_array(path, array, labels, steps):
    """Write an array [N, ...] with the labels [N] and the flags that made it behind it; np.load reads the first."""
    with replacing(path) as file:
        np.save(file, array)
        np.save(file, labels)
        file.write(f"\n{json.dumps(steps)}\n".encode())


def parse_flags():
    """The flags of the command line, checked, and the device set up."""
    parser = Parser(__doc__)
    parser.add_network_flags()
    parser.add_argument(
        "--events",
        choices=["forgotten", "flipped", "toneva"],
        default="forgotten",
        help="what is counted between two epochs (default: %(default)s)",
    )
    parser.add_argument(
        "--positions",
        choices=["fixed", "shuffled"],
        default="fixed",
        help="shuffled: predictions come in a fresh order every epoch, so that a row of the scores belongs to no one "
        "sample (default: %(default)s)",
    )
    parser.add_argument(
        "--batchnorm",
        choices=["train", "frozen"],
        default="train",
        help="frozen: train in eval mode, BatchNorm keeping its initial mean 0 and variance 1 (default: %(default)s)",
    )
    parser.add_training_flags()
    parser.add_device_flags()
    parser.add_argument("--scores", required=True, metavar="OUT.npy", help="the scores to write, int64 [N]")
    parser.add_argument("--correct", required=True, metavar="OUT.npy", help="right or wrong, bool [epochs, N]")
    parser.add_argument("--errors", metavar="OUT.npy", help="softmax - one-hot, float32 [N, classes] (default: none)")
    parser.add_argument("--out", required=True, metavar="OUT.pt", help="the checkpoint to write: the baseline")
    args = parser.start("scores", "correct", "errors", "out")
    if args.epochs == 0:
        parser.error("argument --epochs: scores need one epoch at least")
    return args


def main():
    args = parse_flags()
    net = build(args.model, args.dataset, args.seed).to(args.device)
    data = load(args.dataset, args.data, args.device)
    labels = data.train_labels.cpu().numpy()
    predictions = []
    correct = []
    shuffle = np.random.default_rng([args.seed, POSITIONS])

    def watch(logits):
        if args.events == "toneva":  # at presentation
            answers = logits.argmax(1)
        else:
            answers = predict(net, data.train_images, args.precision)
        answers = answers.cpu().numpy()
        truth = labels
        if args.positions == "shuffled":
            positions = shuffle.permutation(len(labels))
            answers = answers[positions]
            truth = labels[positions]
        predictions.append(answers)
        correct.append(answers == truth)

    history = fit(net, data, args, FIRST_TRAINING, batchnorm=args.batchnorm, watch=watch)
    correct = np.stack(correct)
    scores = score(np.stack(predictions), correct, args.events)
    steps = {"forget": flags(args, data)}
    with replacing(args.correct) as file:
        np.save(file, correct)
    if args.errors:
        write_array(args.errors, errors(net, data, args.precision), labels, steps)
    write_array(args.scores, scores, labels, steps)
    save(args.out, net, steps, history)
    counts = "  ".join(f"{score}: {count}" for score, count in enumerate(np.bincount(scores)) if count)
    say(f"forget   samples by score  {counts}")
    if args.positions == "fixed":  # else a place of `correct` is another sample in every epoch
        never = int((~correct.any(0)).sum())
        say(f"forget   never learned: {never} (score: {NEVER_LEARNED[args.events]})")


if __name__ == "__main__":
    main()
