"""Describe what a tagger does with clips shorter or longer than those it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pseudolabel.models.tagger import Tagger


def lengths_of(tagger: Tagger) -> dict[str, int | None]:
    """Return the limits in frames: `least_frames` of a whole clip, `max_frames`, the network's extent `n_frames`."""
    return {
        "least_frames": tagger.least_frames(),
        "max_frames": tagger.config["max_frames"],
        "n_frames": tagger.network.n_frames,
    }


def lengths_in_words(record: Mapping) -> str:
    """Return a sentence for a model card.

    Args:
        record: the result of `lengths_of`, plus `fill` and `front_end` of `Tagger.config`.
    """
    hop_s, extent = record["front_end"]["hop_s"], record["n_frames"]

    def frames(count: int) -> str:
        return f"{count:,} frames ({count * hop_s:.4g} s)"

    filled = f"Clips of fewer than {frames(record['least_frames'])} are filled, after the front end, "
    filled += f"with {record['fill']:.4g}"
    if record["max_frames"]:
        return f"{filled}; of longer ones, what is beyond {frames(record['max_frames'])} is cut."
    if extent:
        return f"{filled}; of longer ones, pieces of {frames(extent)} are scored, the last up to the end, and averaged."
    return f"{filled}; longer ones are scored whole."
