"""Blocks are made once, survive what kills a run and are never mixed with those of another making; progress shows."""

from __future__ import annotations

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel import progress as progress_module
from pseudolabel.blocks import Blocks
from pseudolabel.errors import InputError
from pseudolabel.progress import Progress, progress_over

SETTINGS = {"rate": 16000, "files": ["a", "b"]}


def fill(file: h5py.File) -> None:
    file["x"] = [1, 2, 3]


def fail(file: h5py.File) -> None:
    fill(file)
    raise KeyboardInterrupt


@settings(max_examples=50, deadline=None)
@given(n_items=st.integers(0, 50), block_size=st.integers(1, 12))
def test_blocks_cover_every_item_once_in_order(tmp_path_factory, n_items, block_size):
    blocks = Blocks(tmp_path_factory.mktemp("blocks") / "out.h5", n_items, block_size, {})
    items = [item for block in range(len(blocks)) for item in blocks.span(block)]
    assert items == list(range(n_items))
    assert all(1 <= len(blocks.span(block)) <= block_size for block in range(len(blocks)))


def test_only_finished_blocks_count_and_another_run_goes_on(tmp_path):
    blocks = Blocks(tmp_path / "out.h5", 5, 2, SETTINGS)
    assert blocks.unfinished() == [0, 1, 2]
    blocks.write(1, fill)
    with pytest.raises(KeyboardInterrupt):
        blocks.write(0, fail)
    (blocks.folder / ".block-00002.h5.77.tmp").touch()  # what a killed process leaves
    again = Blocks(tmp_path / "out.h5", 5, 2, SETTINGS)
    assert again.unfinished() == [0, 2]
    with h5py.File(again.path(1)) as file:
        assert file["x"][:].tolist() == [1, 2, 3]
    again.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("n_items", "block_size", "changed_settings", "named"),
    [
        (5, 2, {**SETTINGS, "rate": 8000}, "rate"),
        (6, 2, {**SETTINGS, "files": ["a", "c"]}, "files, n_items"),
        (5, 3, SETTINGS, "block_size"),
        (5, 2, {"files": ["a", "b"]}, "rate"),
        (5, 2, {**SETTINGS, "codec": "flac"}, "codec"),
    ],
)
def test_blocks_of_another_making_are_refused_by_name_or_forgotten(
    tmp_path, n_items, block_size, changed_settings, named
):
    Blocks(tmp_path / "out.h5", 5, 2, SETTINGS).write(0, fill)
    with pytest.raises(InputError, match=rf"out\.h5\.parts: an unfinished run with other {named} lies here"):
        Blocks(tmp_path / "out.h5", n_items, block_size, changed_settings)
    assert Blocks(tmp_path / "out.h5", 5, 2, SETTINGS).unfinished() == [1, 2]
    other = Blocks(tmp_path / "out.h5", n_items, block_size, changed_settings, restart=True)
    assert 0 in other.unfinished()


def test_restart_keeps_blocks_of_the_same_making(tmp_path):
    Blocks(tmp_path / "out.h5", 5, 2, {**SETTINGS, "files": ("a", "b")}).write(0, fill)
    assert Blocks(tmp_path / "out.h5", 5, 2, SETTINGS, restart=True).unfinished() == [1, 2]


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that shows what stands in the list."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def test_progress_writes_one_line_a_minute_where_there_is_no_terminal(clock, capsys):
    with Progress("score", 1000, start=100) as progress:
        for second in range(1, 131):
            clock[0] = float(second)
            progress.advance(2, loss=0.5)
    assert progress.done == 360
    assert capsys.readouterr().err.splitlines() == [
        "score: 220/1000 clips, 2.0/s, 390 s left, loss 0.5",
        "score: 340/1000 clips, 2.0/s, 330 s left, loss 0.5",
    ]


def test_progress_over_yields_every_item_and_counts_it_when_it_is_done(clock, capsys):
    def slow():
        for item in "abc":
            clock[0] += 61
            yield item

    assert list(progress_over(slow(), "read", 3, "file")) == ["a", "b", "c"]
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "read: 1/3 files",
        "read: 2/3 files",
        "read: 3/3 files",
    ]


def test_progress_shows_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress_module.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("train", 4, "step") as progress:
        progress.advance(3, loss=0.25)
        progress.bar.refresh()
    shown = capsys.readouterr().err
    assert "train" in shown and "3/4" in shown and "loss=0.25" in shown
