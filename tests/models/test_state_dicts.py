"""State dicts as they circulate: in checkpoints, in one another, and with what wrappers put into the names."""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pseudolabel.errors import InputError
from pseudolabel.models import checkpoints
from pseudolabel.models.checkpoints import bare_names, load_state, named_as

STATE = {"conv.weight": torch.arange(4.0), "fc.bias": torch.ones(2)}
PREFIXES = [
    "".join(order) for n in range(4) for order in itertools.permutations(("module.", "_orig_mod.", "model."), n)
]


def wrapped(state, *keys):
    for key in reversed(keys):
        state = {key: state, "epoch": 3, "optimizer": {"lr": 0.1}}
    return state


HOLDERS = [(), ("ema",), ("state_dict_ema",), ("net",), ("weights", "params"), ("model_ema", "module"),
           ("model",), ("state_dict",), ("model_state_dict",), ("model", "state_dict"), ("state_dict", "model"),
           ("model_state_dict", "model", "state_dict")]  # fmt: skip


@pytest.mark.parametrize("keys", HOLDERS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_whatever_is_around_it_the_state_is_the_same(tmp_path, keys, prefix):
    torch.save(wrapped({prefix + name: value for name, value in STATE.items()}, *keys), tmp_path / "weights.pt")
    loaded = load_state(tmp_path / "weights.pt")
    assert loaded.keys() == STATE.keys() and all(torch.equal(loaded[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_in_safetensors_are_taken_off_too(tmp_path, prefix):
    save_file({prefix + name: value for name, value in STATE.items()}, tmp_path / "weights.safetensors")
    assert load_state(tmp_path / "weights.safetensors").keys() == STATE.keys()


def test_a_part_may_be_called_model_and_parts_may_be_wrapped():
    """PSLA's ResNet-50 keeps its layers under `model.`, beside the attention."""
    names = ["module.model.conv1.weight", "module.attention.att.weight"]
    assert bare_names(names) == ["model.conv1.weight", "attention.att.weight"]
    assert bare_names([f"model.{name}" for name in names]) == ["model.conv1.weight", "attention.att.weight"]
    assert bare_names(["v._orig_mod.cls_token", "mlp_head.module.1.bias"]) == ["v.cls_token", "mlp_head.1.bias"]
    assert bare_names(["submodule.weight", "x_orig_mod.bias"]) == ["submodule.weight", "x_orig_mod.bias"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": STATE, "state_dict": dict(STATE)}, "holds several state dicts: state_dict, model"),
        ({"module.a": torch.ones(1), "a": torch.ones(1)}, "repeat after wrapper prefixes are removed"),
        ({3: torch.ones(1)}, "not a mapping from names to tensors"),
        ({"model": {"state_dict": 3}}, "not a mapping from names to tensors"),
        ([torch.ones(1)], "not a mapping from names to tensors"),
        ({"a": torch.eye(2).to_sparse()}, "1 tensors are sparse, complex or without numbers: a"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "1 tensors are sparse, complex or without numbers: a"),
    ],
)
def test_what_is_not_one_state_dict_is_refused_in_one_line(tmp_path, content, said):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=said) as caught:
        load_state(tmp_path / "weights.pt")
    assert "\n" not in str(caught.value)


# ---- what is beside the weights ---------------------------------------------------------------------------------


class Settings:
    """A class that loading must not need, nor create."""

    def __init__(self):
        self.rate = 0.1

    def __setstate__(self, state):
        pytest.fail("an object of the file was created")


class Dictionary(dict):
    """As Lightning keeps its hyperparameters."""


@pytest.mark.parametrize(
    "beside",
    [
        {"hyper_parameters": argparse.Namespace(rate=0.1)},
        {"hyper_parameters": Dictionary(rate=0.1, path=Path("/x"))},
        {"hyper_parameters": Dictionary(path=Path("/x")), "ap": np.float32(0.5), "order": np.arange(3)},
        {"hparams": Settings(), "loss": np.float64(0.5), "sampler": {"order": np.arange(3)}},
        {"callbacks": {"best": torch.ones(1), "kind": Settings}, "when": datetime.datetime(2020, 1, 1)},
        {"optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}], "rng": random.getstate},
    ],
)
def test_objects_beside_the_weights_are_never_created(tmp_path, beside):
    torch.save({"epoch": 3, "state_dict": {f"model.{name}": value for name, value in STATE.items()}, **beside},
               tmp_path / "last.ckpt")  # fmt: skip
    loaded = load_state(tmp_path / "last.ckpt")
    assert loaded.keys() == STATE.keys() and all(torch.equal(loaded[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        torch.nn.DataParallel,
        lambda model: {"model": model, "settings": Dictionary(rate=0.1), "ap": np.float64(0.5)},
    ],
)
def test_a_pickled_model_gives_its_tensors_and_is_not_created(tmp_path, wrap):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Sequential(torch.nn.ReLU()))
    model.register_buffer("passing", torch.ones(1), persistent=False)
    torch.save(wrap(model), tmp_path / "model.pth")
    loaded, expected = load_state(tmp_path / "model.pth"), model.state_dict()
    assert loaded.keys() == expected.keys() and all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_moving_average_is_read_where_it_is_alone_and_named_where_not(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    torch.save({"model": STATE, "model_ema": {name: value + 1 for name, value in STATE.items()}}, path)
    assert torch.equal(load_state(path)["fc.bias"], STATE["fc.bias"])
    assert capsys.readouterr().err == f"{path}: model is read, model_ema is not\n"
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2))
    torch.save(averaged.state_dict(), path)
    assert load_state(path).keys() == {"weight", "bias"}


def test_programs_are_never_run(tmp_path):
    path = tmp_path / "weights.pt"

    class Mine:
        def __reduce__(self):
            return (called, ("a pickle was run",))

    torch.save({"model": STATE, "other": Mine()}, path)
    assert load_state(path).keys() == STATE.keys()  # a dictionary takes its place
    torch.save({"model": STATE, "other": Shell()}, path)
    with pytest.raises(
        InputError, match=r"plain tensors \(Trying to load unsupported GLOBAL \w+\.system whose"
    ) as caught:
        load_state(path)
    with pytest.raises(
        InputError, match=r": is a folder\. Give the file of weights in it, such as model\.safetensors\."
    ):
        load_state(tmp_path)
    assert str(caught.value).endswith("Save its weights alone: torch.save(model.state_dict(), FILE).")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(2)).save(str(path))
    with pytest.raises(InputError, match="it is a TorchScript program, and programs are not run"):
        load_state(path)
    torch.save({"epoch": 3, "optimizer": {}}, path)
    with pytest.raises(InputError, match="names to tensors; not tensors, of 2 entries: epoch, optimizer"):
        load_state(path)


def called(reason):
    pytest.fail(reason)


class Shell:
    """Would run a command if it were unpickled as pickle does."""

    def __reduce__(self):
        return (os.system, ("touch was_run",))


def test_files_from_before_torch_1_6_are_read(tmp_path):
    torch.save({"state_dict": STATE}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load_state(tmp_path / "old.pth").keys() == STATE.keys()
    torch.save({"state_dict": STATE, "o": Settings()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="cannot be read as plain tensors"):
        load_state(tmp_path / "old.pth")


@pytest.mark.parametrize("before_1_6", [False, True])
def test_a_pickle_of_endless_steps_is_refused_before_it_is_read(tmp_path, monkeypatch, before_1_6):
    nest = b"}X\1\0\0\0a" * 50_000 + b"}" + b"s" * 50_000 + b"."
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as file:
        file.writestr("archive/data.pkl", b"\x80\2" + nest)
        file.writestr("archive/version", "3\n")
    if before_1_6:
        head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
        (tmp_path / "weights.pt").write_bytes(head + b"\x80\2" + nest)
    monkeypatch.setattr(checkpoints, "MOST_STEPS", 100_000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it is read"))
    with pytest.raises(InputError, match=r"its pickle takes more than 100,000 steps\). Save its weights alone"):
        load_state(tmp_path / "weights.pt")


def test_a_checkpoint_of_many_tensors_takes_few_steps(tmp_path):
    state = {f"layer{number}.weight": torch.zeros(1) for number in range(1000)}
    torch.save({"state_dict": state}, tmp_path / "weights.pt")
    assert sum(1 for _ in checkpoints._steps(tmp_path / "weights.pt")) < checkpoints.MOST_STEPS / 4
    assert len(load_state(tmp_path / "weights.pt")) == 1000


# ---- parts of a checkpoint --------------------------------------------------------------------------------------


def test_the_part_that_has_the_expected_names_is_taken(tmp_path, capsys):
    state = {f"net.{name}": value for name, value in STATE.items()} | {"criterion.pos_weight": torch.ones(2)}
    assert named_as(state, list(STATE), "x.pt").keys() == STATE.keys()
    assert capsys.readouterr().err == "x.pt: 1 tensors outside net. are not read: criterion.pos_weight\n"
    assert named_as(STATE, list(STATE), "x.pt") is STATE and named_as({}, list(STATE), "x.pt") == {}
    assert named_as(state | {f"ema.{name}": value for name, value in STATE.items()}, list(STATE), "x").keys() == set(
        STATE
    )
    two = state | {f"teacher.{name}": value for name, value in STATE.items()}
    with pytest.raises(InputError, match=r"x\.pt: holds several networks: net\., teacher\. Save just the one to load"):
        named_as(two, list(STATE), "x.pt")


def test_a_file_that_holds_itself_ends(tmp_path):
    endless = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="not a mapping from names to tensors"):
        load_state(tmp_path / "weights.pt")
