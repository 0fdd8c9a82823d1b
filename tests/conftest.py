"""What the tests share: real data where it is beside the checkout, a corpus of tones, ledgers with truth, a browser."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import configuration, settings

ROOT = Path(__file__).resolve().parents[1]
configuration.set_hypothesis_home_dir(ROOT / ".hypothesis")  # not the current folder of a test
settings.register_profile("untimed", deadline=None, print_blob=True)  # a busy machine is no failure
settings.load_profile("untimed")

SHARED = ROOT.parent / "shared"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TONES = {"low": 300.0, "middle": 1000.0, "high": 3500.0}  # Hz


def in_an_empty_folder() -> Iterator[Path]:
    """Make an empty folder the current one, and remove it afterwards."""
    before, folder = Path.cwd(), Path(tempfile.mkdtemp(prefix="pseudolabel-test-"))
    os.chdir(folder)
    yield folder
    os.chdir(before)
    shutil.rmtree(folder)


@pytest.fixture(scope="session", autouse=True)
def _empty_folder_of_session() -> Iterator[Path]:
    """No fixture of any scope sees the checkout, where a recipe may have left `work`."""
    yield from in_an_empty_folder()


@pytest.fixture(scope="module", autouse=True)
def _empty_folder_of_module() -> Iterator[Path]:
    yield from in_an_empty_folder()


@pytest.fixture(autouse=True)
def empty_folder() -> Iterator[Path]:
    """The current folder of a test and of the processes that it starts: empty, and its own."""
    yield from in_an_empty_folder()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and published label lists; the test is skipped where it is missing."""
    return shared("data")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small inputs that people really have; the test is skipped where it is missing."""
    return shared("cases")


def shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"real data is missing: {folder}")
    return folder


@pytest.fixture(scope="session")
def write_tones() -> Callable[..., Path]:
    """Return a function that fills a work folder with clips of one tone each: clips.h5, labels.csv, vocabulary.csv."""
    from pseudolabel.audio.clips import ClipTable, encode, write_clips
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.labels.vocabulary import Vocabulary

    def write(work: Path, seconds: Sequence[float], sample_rate: int = 16_000) -> Path:
        """Clip `t00` is low, `t01` middle, `t02` high, `t03` low again, and so on."""
        rng = np.random.default_rng(7)
        vocabulary = Vocabulary("tones", tuple(TONES), tuple(TONES), ("",) * len(TONES))
        clip_ids = [f"t{i:02d}" for i in range(len(seconds))]
        clips = []
        for i, length_s in enumerate(seconds):
            times = np.arange(round(length_s * sample_rate)) / sample_rate
            tone = np.sin(2 * np.pi * (list(TONES.values())[i % 3] * times + rng.random()))
            clips.append(rng.uniform(0.2, 0.8) * tone + 0.01 * rng.standard_normal(len(times)))
        encoded = [encode(clip, "pcm16", sample_rate) for clip in clips]
        sizes = [len(clip) for clip in clips], [len(piece) for piece in encoded]
        write_clips(work / "clips.h5", ClipTable(clip_ids, clip_ids, *sizes, sample_rate), encoded)
        names = [[list(TONES)[i % 3]] for i in range(len(clip_ids))]
        LabelTable.from_sets(clip_ids, names, vocabulary).write(work / "labels.csv")
        vocabulary.write(work / "vocabulary.csv")
        return work

    return write


@pytest.fixture(scope="module")
def same_threads_after():
    """Verbs set how many threads torch uses; what comes after the module has as many as before."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def simulate_ledger() -> Callable[..., tuple]:
    """Return a function that makes a ledger and the (M,) truth of its rows."""
    import pyarrow as pa

    from pseudolabel.labels.ledger import SCHEMA
    from pseudolabel.reviews.stratified import TYPES

    def simulate(n: int, n_classes: int, precision: float, seed: int = 0) -> tuple:
        """Truth varies with score, class and type; class sizes are uneven; a part of Type II is added by rule."""
        rng = np.random.default_rng(seed)
        sizes = rng.zipf(1.6, n_classes).clip(1, 500)
        classes, types = rng.choice(n_classes, n, p=sizes / sizes.sum()), rng.choice(3, n, p=[0.55, 0.35, 0.1])
        scores = np.where((types == 1) & (rng.random(n) < 0.5), np.nan, rng.beta(2, 2, n))
        sense = 3 * np.nan_to_num(scores, nan=1.0) + rng.normal(0, 1.2, n_classes)[classes] + 0.6 * (types == 1)
        order = np.argsort(-(sense + rng.logistic(0, 1, n)), kind="stable")
        truth = np.zeros(n, bool)
        truth[order[: round(precision * n)]] = True
        known = ~np.isnan(scores)
        columns = {
            "clip_id": [f"c{row:05d}" for row in range(n)],
            "class_id": [f"k{k:03d}" for k in classes.tolist()],
            "error": [TYPES[t] for t in types.tolist()],
            "because": ["k000"] * n,
            "score": pa.array(scores, from_pandas=True),
            "threshold": pa.array(np.where(known, 0.0, np.nan), from_pandas=True),
            "probability": pa.nulls(n, pa.float64()),
            "round": pa.array(np.ones(n, np.int32)),
            "window_s": pa.nulls(n, pa.float64()),
            "onset_s": pa.nulls(n, pa.float64()),
        }
        return pa.table(columns, schema=SCHEMA), truth

    return simulate


@pytest.fixture(scope="session")
def sample_of() -> Callable:
    """Return a function that draws a review sample whose items are called by the number of their row."""
    from dataclasses import replace

    from pseudolabel.reviews.items import make_sample
    from pseudolabel.reviews.stratified import band_edges, draw, float_column, items_of

    def sample_of(ledger, seed: int = 0, budget: int | None = 200, per_class: int | None = None):
        edges = band_edges(float_column(ledger, "score"), 5)
        drawn = draw(ledger, edges, budget, per_class, seed)
        items = [replace(item, item=str(row)) for row, item in zip(drawn.rows, items_of(ledger, drawn), strict=True)]
        return make_sample(items, "", drawn.strata, bands=edges)

    return sample_of


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """A headless Chromium, that of the system; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium on this system")
    arguments = ["--no-sandbox", "--mute-audio"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, tmp_path) -> Iterator[Callable]:
    """Return a function that opens a page from disk; a script error, a broken rule or a request fails the test."""
    context, complaints = chromium.new_context(accept_downloads=True), []

    def watch(page) -> None:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("request", lambda sent: complaints.append(sent.url) if sent.url.startswith("http") else None)

    def opened(path: Path):
        page = context.new_page()
        watch(page)
        page.goto(path.resolve().as_uri())
        return page

    yield opened
    context.close()
    assert complaints == []
