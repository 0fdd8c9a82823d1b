"""Score many clips block by block, with overlapping reads, scoring and writes; blocks are merged into a score store."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from torch import Tensor

from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import Blocks
from pseudolabel.errors import InputError
from pseudolabel.hdf5_checks import refuse_claims
from pseudolabel.progress import Progress
from pseudolabel.scores.windows import CLIP, n_windows, window_name, window_samples
from pseudolabel.scores.writing import stored_types
from pseudolabel.stores import store_contents
from pseudolabel.training.batches import prefetch
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.scoring import Portion, Scorer, by_window, read_portions, widened

AHEAD = 2  # portions read ahead
CHECKSUM = "crc32"  # attribute of a block's scores at one scale


@dataclass
class ScoringStats:
    """How many clips were scored, and how long it took: wall time and busy time of the device, means over processes."""

    clips: int
    seconds: float = 0.0
    busy_seconds: float = 0.0
    processes: int = 1

    @property
    def waiting_share(self) -> float:
        """Share of the time in which the device was idle."""
        return max(0.0, 1 - self.busy_seconds / self.seconds) if self.seconds else 0.0

    def of_all(self, ranks: Ranks) -> ScoringStats:
        """Return the statistics of all processes once all are done; seconds are averaged."""
        clips, *seconds = ranks.sum(np.array([self.clips, self.seconds, self.busy_seconds])).tolist()
        return ScoringStats(int(clips), *(each / ranks.size for each in seconds), ranks.size)


def score_blocks(
    blocks: Blocks,
    numbers: Sequence[int],
    scorer: Scorer,
    clips: ClipStore,
    rows: np.ndarray,
    windows: Sequence[str | float],
    answering: np.ndarray | None = None,
    types: Mapping[str, np.dtype] | None = None,
) -> ScoringStats:
    """Score and write the blocks with these numbers; a batch never mixes clips of two blocks.

    Args:
        rows: (N,) clip store rows of all blocks' clips.
        windows: `clip` and lengths in seconds.
        answering: (N, R) bool, which of the scorer's models score which clip, at least one each; None: all models.
        types: scale name -> storage type of its scores; None: `stored_types`.
    """
    types = types or stored_types(map(window_name, windows))

    def read() -> Iterator[tuple[int, Portion, bool]]:
        for number in numbers:
            span = blocks.span(number)
            chosen = slice(span.start, span.stop)
            own = None if answering is None else answering[chosen]
            portions = read_portions(clips, rows[chosen], windows, scorer.device.type == "cuda", own)
            held = next(portions)
            for portion in portions:
                yield number, held, False
                held = portion
            yield number, held, True

    clip_ids = [clips.clip_ids[row] for row in rows]
    done = blocks.n_items - sum(len(blocks.span(number)) for number in blocks.unfinished())
    work, started = ScoringStats(sum(len(blocks.span(number)) for number in numbers)), time.perf_counter()
    with Progress("score", done + work.clips, start=done) as progress, ThreadPoolExecutor(1, "write") as writer:
        answers, written = [], None
        for number, portion, is_last in prefetch(read(), AHEAD):
            answers.append((scorer.answers(portion), portion.pieces.windows))
            if not is_last:
                continue
            if written is not None:
                progress.advance(written.result())
            written, answers = writer.submit(write_block, blocks, number, answers, clip_ids, types), []
        if written is not None:
            progress.advance(written.result())
        work.busy_seconds = scorer.busy.settle()
    work.seconds = time.perf_counter() - started
    return work


def write_block(
    blocks: Blocks,
    number: int,
    answers: Sequence[tuple[Tensor, dict[str, np.ndarray]]],
    clip_ids: Sequence[str],
    types: Mapping[str, np.dtype],
) -> int:
    """Write one block; return its number of clips.

    Args:
        answers: for each portion of the block, the scores of its pieces and their windows.
        clip_ids: (N,) ids of all blocks' clips.
        types: as for `write_scores`.
    Raises:
        InputError: a score is NaN.
    """
    parts = [by_window(scores.cpu().numpy(), grids) for scores, grids in answers]
    joined = {name: widened([part[name].astype(types[name]) for part in parts]) for name in parts[0]}
    for name, scores in joined.items():
        if not np.isfinite(scores).all():
            clip = blocks.span(number)[int(np.argwhere(~np.isfinite(scores))[0][0])]
            remedy = "Its weights or its front end are damaged: train it again."
            raise InputError(f"the model answers NaN at scale {name}", f"clip {clip_ids[clip]!r}", remedy)

    def fill(file: h5py.File) -> None:
        for name, scores in joined.items():
            file[name] = scores[:, 0] if name == CLIP else scores
            file[name].attrs[CHECKSUM] = _crc32(scores)

    blocks.write(number, fill)
    return len(blocks.span(number))


def count_windows(windows: Sequence[str | float], n_samples: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Return {scale name: (N,) number of windows in clips of `n_samples` samples}."""
    return {
        window_name(window_s): np.ones_like(n_samples)
        if window_s == CLIP
        else n_windows(n_samples, window_samples(window_s, sample_rate))
        for window_s in windows
    }


def _crc32(scores: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(scores).reshape(-1).view(np.uint8))


def _read_block(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read the scores of a block; raise InputError if they are not those that were written."""
    with h5py.File(path, "r") as file, store_contents(path):
        refuse_claims(file, path)
        answers = {name: file[name][:] for name in names}
        if any(_crc32(scores) != file[name].attrs[CHECKSUM] for name, scores in answers.items()):
            raise InputError("a checksum does not match", path)
    return answers


def merged_blocks(blocks: Blocks, shapes: dict[str, tuple[int, ...]]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the blocks in clip order, zero-padded to the longest clip's number of windows.

    Raises:
        InputError: a block is damaged.
    """
    for number in range(len(blocks)):
        path = blocks.path(number)
        try:
            answers = _read_block(path, shapes)
        except (OSError, InputError) as error:
            remedy = "Remove this file and run the same command again: only this block is scored again."
            raise InputError("the block is damaged", path, remedy) from error
        yield {name: scores if name == CLIP else widened([scores], shapes[name][1]) for name, scores in answers.items()}
