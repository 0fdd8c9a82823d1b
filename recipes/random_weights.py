"""A file as PSL's authors publish theirs, with random weights: published_teacher.sh at SCALE=tiny.

python recipes/random_weights.py --out work/random_weights.pt

The names and shapes are those of torchvision's MobileNetV2 with one input channel and AudioSet's 527 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_file
from pseudolabel.command import Command, run_command
from pseudolabel.options import WHOLE, Options, option

N_CLASSES = 527


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(Options):
    """Which weights, and where."""

    out: Path = option(help="file to write")
    seed: int = option(0, "of the weights", WHOLE)


def random_weights(options: WeightsOptions) -> None:
    """Write the state dict."""
    import torch
    from torchvision.models import mobilenet_v2

    torch.manual_seed(options.seed)
    network = mobilenet_v2(num_classes=N_CLASSES)
    first = network.features[0][0]
    network.features[0][0] = torch.nn.Conv2d(1, first.out_channels, first.kernel_size, first.stride, 1, bias=False)
    with whole_file(options.out) as temporary:
        torch.save(network.state_dict(), temporary)
    print(f"wrote {options.out}: PSL's MobileNetV2 with random weights")


def plan(options: WeightsOptions) -> str:
    """Return what a dry run says of the file."""
    dry_run.promise(options.out)
    return f"would write {options.out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write a file of random weights."""
    return run_command("random_weights", __doc__, Command(WeightsOptions, random_weights, plan), argv)


if __name__ == "__main__":
    raise SystemExit(main())
