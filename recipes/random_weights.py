"""A file as PSL's authors publish theirs, with random weights: published_teacher.sh at SCALE=tiny.

python recipes/random_weights.py --out work/random_weights.pt

The names and shapes are those of torchvision's MobileNetV2 with one input channel and AudioSet's 527 classes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_file
from pseudolabel.cli import non_negative_int, run_verb

N_CLASSES = 527


def random_weights(args: argparse.Namespace) -> None:
    """Write the state dict."""
    import torch
    from torchvision.models import mobilenet_v2

    torch.manual_seed(args.seed)
    network = mobilenet_v2(num_classes=N_CLASSES)
    first = network.features[0][0]
    network.features[0][0] = torch.nn.Conv2d(1, first.out_channels, first.kernel_size, first.stride, 1, bias=False)
    with whole_file(args.out) as temporary:
        torch.save(network.state_dict(), temporary)
    print(f"wrote {args.out}: PSL's MobileNetV2 with random weights")


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the file."""
    dry_run.promise(args.out)
    return f"would write {args.out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write a file of random weights."""
    parser = argparse.ArgumentParser(prog="random_weights", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=non_negative_int, default=0)
    parser.add_argument("--debug", action="store_true")
    return run_verb(parser, random_weights, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
