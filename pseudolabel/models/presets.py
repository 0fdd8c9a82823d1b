"""The front end that each network was published with."""

from __future__ import annotations

from collections.abc import Mapping

PSL_FRONT_END = {"name": "log_mel"}  # 64 mel, decibels, no normalisation
PSLA_FRONT_END = {"name": "kaldi_fbank", "mean": -4.6476, "std": 4.5699}
AST_FRONT_END = {"name": "kaldi_fbank", "mean": -4.2677393, "std": 2 * 4.5689974}

# The front end that each network was published with, in seconds: at another sample rate it means the same.
PRESETS = {
    "mobilenetv2": PSL_FRONT_END,
    "efficientnet_b0": PSLA_FRONT_END,
    "efficientnet_b2": PSLA_FRONT_END,
    "resnet50": PSLA_FRONT_END,
    "mbnet": PSLA_FRONT_END,
    "ast_tiny": AST_FRONT_END,
    "ast_small": AST_FRONT_END,
    "ast_base": AST_FRONT_END,
}


def with_preset(name: str, given: Mapping[str, object]) -> dict[str, object]:
    """Return the front end of a network: its preset with what is given, or another one that `given` names."""
    preset = PRESETS[name]
    return {**preset, **given} if given.get("name", preset["name"]) == preset["name"] else dict(given)
