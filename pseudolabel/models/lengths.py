"""What a tagger does with a clip that is shorter or longer than its network was trained on, in words."""

from __future__ import annotations

from collections.abc import Mapping


def lengths_in_words(config: Mapping) -> str:
    """Return one or two sentences for a model card.

    Args:
        config: `min_frames`, `max_frames` and `fill` of `Tagger.config`, its `front_end` with `hop_s`, and
            `n_frames`: the network's fixed extent, None where it takes any.
    """
    hop_s, least, most = config["front_end"]["hop_s"], config["min_frames"], config["max_frames"]

    def frames(count: int) -> str:
        return f"{count:,} frames ({count * hop_s:g} s)"

    filled = f"Features of fewer than {frames(least)} are filled with {config['fill']:.4g}"
    if most:
        return f"{filled}; those beyond {frames(most)} are cut, so that what a longer clip holds later is not heard."
    if config["n_frames"]:
        pieces = f"consecutive pieces of {frames(config['n_frames'])}, and answered with the mean of their scores"
        return f"{filled}; longer clips are heard in {pieces}."
    return f"{filled}; longer clips are heard whole."
