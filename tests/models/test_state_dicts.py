"""State dicts as they circulate: in checkpoints, in one another, and with what wrappers put into the names."""

from __future__ import annotations

import itertools

import pytest
import torch
from safetensors.torch import save_file

from pseudolabel.errors import InputError
from pseudolabel.models.weights import bare_names, load_state

STATE = {"conv.weight": torch.arange(4.0), "fc.bias": torch.ones(2)}
PREFIXES = [
    "".join(order) for n in range(4) for order in itertools.permutations(("module.", "_orig_mod.", "model."), n)
]


def wrapped(state, *keys):
    for key in reversed(keys):
        state = {key: state, "epoch": 3, "optimizer": {"lr": 0.1}}
    return state


HOLDERS = [(), ("model",), ("state_dict",), ("model_state_dict",), ("model", "state_dict"), ("state_dict", "model"),
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
        ({"model": STATE, "state_dict": STATE}, "holds several state dicts: state_dict, model"),
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


def test_a_file_that_holds_itself_ends(tmp_path):
    endless = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="not a mapping from names to tensors"):
        load_state(tmp_path / "weights.pt")
