"""Blocks are made once, survive what kills a run and are never mixed with those of another making; progress shows."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel import blocks as blocks_module
from pseudolabel import progress as progress_module
from pseudolabel.blocks import Blocks, only_run
from pseudolabel.errors import InputError, OutputExists
from pseudolabel.ownership import refuse_existing
from pseudolabel.progress import Progress, progress_over
from pseudolabel.temporaries import temporary_name

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
    temporary_name(blocks.path(2)).touch()  # what a killed process leaves
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
    with pytest.raises(InputError, match=rf"out\.h5\.parts: an unfinished run with other {named} is here"):
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


def test_an_empty_folder_of_parts_is_taken(tmp_path):
    (tmp_path / "out.h5.parts").mkdir()
    blocks = Blocks(tmp_path / "out.h5", 5, 2, SETTINGS)
    assert blocks.unfinished() == [0, 1, 2] and (blocks.folder / "settings.json").is_file()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"thesis.txt": "x"}, "holds thesis.txt, which is not a block of an unfinished run"),
        ({"block-00000.h5": "x"}, "has no settings.json of an unfinished run"),
        ({"block-00000.h5": "x", "settings.json": "{}"}, "has no settings.json of an unfinished run"),
        ({"block-00000.h5": "x", "settings.json": "[" * 100_000}, "has no settings.json of an unfinished run"),
        ({"settings.json": '{"n_items": 1, "block_size": 1}', "block-0.h5.bak": "x"}, "holds block-0.h5.bak"),
    ],
)
def test_a_folder_of_parts_that_is_not_proven_to_be_one_is_never_removed(tmp_path, files, reason):
    folder = tmp_path / "out.h5.parts"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(InputError, match=rf"out\.h5\.parts: {reason}.*so it is not replaced"):
        Blocks(tmp_path / "out.h5", 5, 2, SETTINGS, restart=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == files


def test_a_linked_folder_of_parts_is_refused(tmp_path):
    Blocks(tmp_path / "real.h5", 5, 2, SETTINGS).write(0, fill)
    (tmp_path / "out.h5.parts").symlink_to("real.h5.parts")
    with pytest.raises(InputError, match="not a folder of blocks"):
        Blocks(tmp_path / "out.h5", 6, 2, SETTINGS, restart=True)
    assert (tmp_path / "real.h5.parts" / "block-00000.h5").exists()


def test_a_file_of_somebody_else_under_the_name_of_the_lock_stays(tmp_path):
    (tmp_path / ".out.h5.pseudolabel-lock").write_text("mine")
    with pytest.raises(InputError, match="not a lock of pseudolabel"), only_run(tmp_path / "out.h5"):
        raise AssertionError
    assert (tmp_path / ".out.h5.pseudolabel-lock").read_text() == "mine"


def test_processes_of_one_run_join_its_blocks_if_they_would_make_the_same(tmp_path):
    leader = Blocks(tmp_path / "out.h5", 5, 2, SETTINGS)
    Blocks(tmp_path / "out.h5", 5, 2, SETTINGS, join=True).write(1, fill)
    assert leader.unfinished() == [0, 2]
    with pytest.raises(InputError, match=r"the processes of this run have other rate.*Give all of them the same"):
        Blocks(tmp_path / "out.h5", 5, 2, {**SETTINGS, "rate": 8000}, join=True)


def test_a_block_of_a_run_that_was_replaced_is_not_mixed_in(tmp_path):
    early, late = Blocks(tmp_path / "out.h5", 5, 2, SETTINGS), {**SETTINGS, "rate": 8000}
    Blocks(tmp_path / "out.h5", 5, 2, late, restart=True)
    with pytest.raises(InputError, match="another run has begun here"):
        early.write(0, fill)

    def replaced_meanwhile(file):
        Blocks(tmp_path / "out.h5", 5, 2, SETTINGS, restart=True)
        fill(file)

    again = Blocks(tmp_path / "out.h5", 5, 2, late)
    with pytest.raises(InputError, match="another run has begun here"):
        again.write(0, replaced_meanwhile)
    assert Blocks(tmp_path / "out.h5", 5, 2, SETTINGS).unfinished() == [0, 1, 2]


def test_blocks_that_show_late_are_awaited_and_those_that_never_do_are_named(tmp_path, monkeypatch):
    blocks = Blocks(tmp_path / "out.h5", 5, 2, SETTINGS)
    blocks.write(0, fill)
    with pytest.raises(InputError, match=r"2 of 3 blocks are missing: 1, 2\. Run the same command again"):
        blocks.await_all(patience_s=0)
    left = [1, 2]
    monkeypatch.setattr(blocks_module.time, "sleep", lambda _: blocks.write(left.pop(), fill))
    blocks.await_all()
    assert not left


# ---- one run at a time -------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from pseudolabel.blocks import only_run

with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_run_on_the_same_output_is_refused_until_the_first_has_ended(tmp_path):
    out = tmp_path / "deep" / "out.h5"
    with only_run(out):
        with pytest.raises(InputError, match=r"out\.h5: another run is at work on this output\. Wait"):
            only_run(out).__enter__()
        with only_run(out.with_name("other.h5")):
            pass
    with pytest.raises(ZeroDivisionError), only_run(out):
        1 / 0  # noqa: B018
    with only_run(out):
        assert [path.name for path in out.parent.iterdir()] == [".out.h5.pseudolabel-lock"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", [".", "..", "/", "../here", "../here/."])
def test_the_current_folder_is_no_output(tmp_path, monkeypatch, output):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="is the current folder, or holds it"), only_run(Path(output)):
        raise AssertionError
    with only_run(Path("other.h5")):
        pass


def test_folders_that_were_made_for_the_lock_alone_do_not_stay(tmp_path):
    with pytest.raises(ZeroDivisionError), only_run(tmp_path / "a" / "b" / "out.h5"):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())
    with only_run(tmp_path / "a" / "b" / "out.h5"):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_a_killed_run_holds_nothing_back_and_what_it_left_half_written_goes(tmp_path):
    out = tmp_path / "out.h5"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another run is at work"), only_run(out):
            raise AssertionError
        holder.kill()
    temporary_name(out).touch()
    temporary_name(tmp_path / "out.h5.parts").mkdir()
    other = temporary_name(tmp_path / "other.h5")
    for theirs in (other, tmp_path / ".out.h5.mine.tmp", tmp_path / f".out.h5.{'0' * 32}.tmp"):
        theirs.touch()
    kept = sorted([other.name, ".out.h5.mine.tmp", f".out.h5.{'0' * 32}.tmp", ".out.h5.pseudolabel-lock"])
    assert (tmp_path / ".out.h5.pseudolabel-lock").exists()
    with only_run(out):
        assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_a_lock_file_that_its_holder_has_removed_is_no_lock(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    out, flock, asked = tmp_path / "out.h5", fcntl.flock, []

    def removed_just_before(descriptor, operation):
        if not asked:
            (tmp_path / ".out.h5.pseudolabel-lock").unlink()
        asked.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_just_before)
    with only_run(out):
        assert len(asked) == 2 and (tmp_path / ".out.h5.pseudolabel-lock").exists()
        monkeypatch.undo()
        with pytest.raises(InputError, match="another run is at work"), only_run(out):
            raise AssertionError


def test_a_folder_without_locks_can_be_worked_in(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def unable(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    with only_run(tmp_path / "out.h5"):
        pass
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_refused_loses_the_lock_of_the_run_that_was_killed_after_it(tmp_path):
    out, lock = tmp_path / "out.h5", tmp_path / ".out.h5.pseudolabel-lock"
    out.write_text("whole")
    lock.touch()
    with pytest.raises(OutputExists):
        refuse_existing(out, False)
    assert not lock.exists()
    with only_run(out):
        with pytest.raises(OutputExists):
            refuse_existing(out, False)
        assert lock.exists()
    lock.write_text("mine")
    with pytest.raises(OutputExists):
        refuse_existing(out, False)
    assert lock.read_text() == "mine"
