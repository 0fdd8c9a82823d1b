"""What the tests of reviews share: a sample over clips of tones, where to find what it shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

HOSTILE = """</script><b id="injected">"it's" & <!-- co"""


@pytest.fixture
def tone_sources(write_tones, tmp_path) -> Callable:
    """Return a function that makes the PageSources of clips of tones, each longer than 3 s, with scores at 2 s."""
    from pseudolabel.audio.clips import ClipStore
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.labels.vocabulary import Vocabulary
    from pseudolabel.reviews.page import PageSources
    from pseudolabel.scores.store import ScoreStore

    def make(n_clips: int = 4, names: tuple[str, ...] = ("Low", HOSTILE, "High"), **changes) -> PageSources:
        work = tmp_path / "work"
        if not work.exists():
            work.mkdir()
            write_tones(work, [4.0] * n_clips)
        classes = Vocabulary.load(work / "vocabulary.csv").class_ids
        vocabulary = Vocabulary("tones", classes, names, ("",) * len(classes))
        labels = LabelTable.read(work / "labels.csv", vocabulary)
        windows = np.random.default_rng(3).random((n_clips, 2, len(classes)))
        scores = {"clip": windows.max(axis=1), 2: windows}
        ScoreStore.write(work / "scores.h5", labels.clip_ids, classes, scores, overwrite=True)
        clips, scores = ClipStore.open(work / "clips.h5"), ScoreStore.open(work / "scores.h5")
        return PageSources(**{"vocabulary": vocabulary, "labels": labels, "clips": clips, "scores": scores, **changes})

    return make


@pytest.fixture
def tone_sample() -> Callable:
    """Return a function that makes a sample: an addition for each clip of tones, and two decoys at the end."""
    from pseudolabel.reviews.items import Item, make_sample

    classes, types = ("low", "middle", "high"), ("I", "II", "I+II")

    def make(n_clips: int = 4, blind: bool = False, window_s: float | None = 2.0):
        items = []
        for i in range(n_clips):
            because, added = classes[i % 3], classes[(i + 1) % 3]
            onset = None if window_s is None else window_s
            evidence = (0.75 + i / 1000, 0.31, window_s, onset)
            items.append(
                Item(f"{i + 1:04d}", f"t{i:02d}", added, "added", types[i % 3], (because,), *evidence, "s", 1.0)
            )
        items.append(Item(f"{n_clips + 1:04d}", "t00", "low", "given"))
        items.append(Item(f"{n_clips + 2:04d}", "t01", "high", "absent"))
        return make_sample(items, "ab" * 32, {"s": n_clips}, blind)

    return make


@pytest.fixture
def shown(tmp_path, tone_sample, tone_sources, open_page):
    """Return a function that writes a page and opens it."""

    from pseudolabel.reviews.page import write_page

    def make(name="page", sample=None, **changes):
        return open_page(write_page(tmp_path / name, sample or tone_sample(), tone_sources(**changes)))

    return make
