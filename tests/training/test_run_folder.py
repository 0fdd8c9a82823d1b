"""The folder of a run: which checkpoints come back, which are kept, and whose are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pseudolabel.errors import InputError
from pseudolabel.training.run_folder import (
    checkpoint_files,
    checkpoint_path,
    differing,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

SETTINGS = {"seed": 1, "betas": (0.9, 0.999), "config": {"name": "mobilenetv2", "front_end": {"hop": 160}}}


def save(folder, epoch, settings=SETTINGS):
    save_checkpoint(folder, epoch, {"weights": {"w": torch.full((2,), float(epoch))}, "history": [{"a": ""}]}, settings)


def test_state_comes_back_as_it_was(tmp_path):
    save(tmp_path, 3)
    state = load_checkpoint(tmp_path, SETTINGS)
    assert state["epoch"] == 3 and state["history"] == [{"a": ""}]
    assert torch.equal(state["weights"]["w"], torch.tensor([3.0, 3.0]))


def test_no_folder_and_no_checkpoint_are_none(tmp_path):
    assert load_checkpoint(tmp_path / "absent", SETTINGS) is None
    assert load_checkpoint(tmp_path, SETTINGS) is None


def test_the_last_two_are_kept_and_nothing_else_is_left(tmp_path):
    for epoch in range(8, 13):  # 9 and 10 sort by number, not as text
        save(tmp_path, epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0011.pt", "epoch-0012.pt"]
    assert load_checkpoint(tmp_path, SETTINGS)["epoch"] == 12


@pytest.mark.parametrize(("kept", "left"), [(1, [12]), (3, [10, 11, 12]), (0, [8, 9, 10, 11, 12])])
def test_more_or_all_are_kept_on_request(tmp_path, kept, left):
    for epoch in range(8, 13):
        save_checkpoint(tmp_path, epoch, {}, SETTINGS, kept)
    assert list(checkpoint_files(tmp_path)) == left
    assert [read_checkpoint(path)["epoch"] for path in checkpoint_files(tmp_path).values()] == left


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign"])
def test_damaged_last_checkpoint_leaves_the_one_before(tmp_path, damage, capsys):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = checkpoint_path(tmp_path, 2)
    if damage == "foreign":  # readable, but not ours
        torch.save({"weights": torch.zeros(1)}, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"not a checkpoint"}[damage])
    assert load_checkpoint(tmp_path, SETTINGS)["epoch"] == 1
    assert "epoch-0002.pt" in capsys.readouterr().err


def test_pickled_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"settings": "{}", "epoch": 9, "x": Evil()}, checkpoint_path(tmp_path, 9))
    assert load_checkpoint(tmp_path, {}) is None
    assert not (tmp_path / "ran").exists()


def test_checkpoint_of_other_settings_is_refused_by_the_names_of_what_changed(tmp_path):
    save(tmp_path, 1)
    changed = {**SETTINGS, "seed": 2, "config": {"name": "mobilenetv2", "front_end": {"hop": 320}}, "alpha": 0.5}
    with pytest.raises(InputError, match=r"other alpha, config\.front_end\.hop, seed is here.*--overwrite"):
        load_checkpoint(tmp_path, changed)


def test_differing_finds_what_was_added_removed_and_changed():
    assert differing({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1, "d": 3}, "e": 0}) == ["a", "b.d", "e"]
    assert differing({"a": {"b": 1}}, {"a": None}) == ["a"]
    assert differing(SETTINGS, SETTINGS) == []


def test_a_checkpoint_with_one_flipped_bit_is_not_taken(tmp_path, capsys):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, {"weights": torch.arange(5000, dtype=torch.float32) + epoch}, {"seed": 0})
    path = checkpoint_path(tmp_path, 2)
    content = bytearray(path.read_bytes())
    content[content.index(np.arange(2500, 2504, dtype=np.float32).tobytes())] ^= 1
    path.write_bytes(content)
    assert load_checkpoint(tmp_path, {"seed": 0})["epoch"] == 1
    assert "not a readable checkpoint; the one before it is used" in capsys.readouterr().err
