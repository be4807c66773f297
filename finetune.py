"""Step 5 of the method: fine-tune the pruned network on all data (section 4.5).

    python finetune.py --in low-p0.4.pt --out low-p0.4-finetuned.pt

--mask hold keeps every pruned weight exactly zero, which is what a pruned
network is. --mask release does what the authors' released program did: pruned
weights train like any other and grow back.
"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -P leaves it out

from prune import sparsity
from train import FINE_TUNING, Parser, check_seed, fail, fit, flags, prunable, restore, save, say


def main():
    parser = Parser(__doc__)
    parser.add_argument("--in", required=True, metavar="IN.pt", help="the checkpoint to fine-tune")
    parser.add_argument(
        "--mask",
        choices=["hold", "release"],
        default="hold",
        help="hold: what is zero stays zero; release: it trains like the rest (default: %(default)s)",
    )
    parser.add_training_flags("the order of samples, that of the network's first training")
    parser.add_device_flags()
    parser.add_argument("--out", required=True, metavar="OUT.pt", help="the checkpoint to write")
    args = parser.start("out")

    source = vars(args)["in"]
    checkpoint, net, data = restore(source, args)
    check_seed(source, checkpoint["args"], args)
    zeros = {name: layer.weight == 0 for name, layer in prunable(net).items()}
    history = fit(net, data, args, FINE_TUNING, hold=args.mask == "hold")
    total = sum(int(pruned.sum()) for pruned in zeros.values())
    still = sum(int((layer.weight[zeros[name]] == 0).sum()) for name, layer in prunable(net).items())
    if args.mask == "hold" and still < total:
        grown = total - still
        fail(f"{grown} pruned weights are no longer zero, which is a defect of this program; nothing was written")
    say(f"finetune {still} of {total} pruned weights are still zero (--mask {args.mask})")
    save(args.out, net, {"finetune": flags(args, data) | sparsity(net)}, history, checkpoint)


if __name__ == "__main__":
    main()
