"""Models that start from the weights of a trained one: what is taken, what stays random, what is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from pseudolabel.errors import InputError
from pseudolabel.models import load_model, save_model
from pseudolabel.models.files import start_from
from pseudolabel.models.tagger import Tagger, build_tagger

HEAD = ("head.linear.weight", "head.linear.bias")


def mobilenet(class_ids: str, seed: int, **config: object) -> Tagger:
    """Return a narrow MobileNetV2 with random weights and statistics; each letter of `class_ids` is a class."""
    torch.manual_seed(seed)
    options = {"width": 0.25, "last_channels": 32}
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": list(class_ids), "options": options, **config})
    for name, value in tagger.network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return tagger


def saved(tagger: Tagger, folder):
    save_model(folder, tagger)
    return folder


def test_other_classes_take_all_but_the_last_layer(tmp_path):
    trained, new = mobilenet("ab", 0), mobilenet("cde", 1)
    before = {name: value.clone() for name, value in new.network.state_dict().items()}
    started = start_from(new, saved(trained, tmp_path / "run"))
    assert started.fresh == HEAD
    theirs = trained.network.state_dict()
    for name, value in new.network.state_dict().items():
        assert torch.equal(value, before[name] if name in HEAD else theirs[name]), name
    assert sorted((*started.loaded, *started.fresh)) == sorted(before)
    assert f"{len(before) - 2} of {len(before)} tensors" in str(started) and "head.linear.bias" in str(started)


def test_as_many_classes_but_others_keep_no_last_layer(tmp_path):
    trained, new = mobilenet("ab", 0), mobilenet("ba", 1)
    before = new.network.head.linear.weight.clone()
    assert start_from(new, saved(trained, tmp_path / "run")).fresh == HEAD
    assert torch.equal(new.network.head.linear.weight, before)


def test_same_classes_take_everything_and_answer_the_same(tmp_path):
    trained, new = mobilenet("ab", 0).eval(), mobilenet("ab", 1)
    started = start_from(new, saved(trained, tmp_path / "run"))
    assert started.fresh == () and "the same classes" in str(started)
    waveforms = torch.randn(2, 16_000)
    with torch.no_grad():
        assert torch.equal(new.eval()(waveforms), trained(waveforms))


def test_another_front_end_or_window_is_said(tmp_path):
    trained = mobilenet("ab", 0, window_s=2.0)
    new = mobilenet("cd", 1, window_s=10.0, front_end={"hop_s": 0.02})
    told = str(start_from(new, saved(trained, tmp_path / "run")))
    assert "hop_s 0.01, now 0.02" in told and "trained on 2 s, now 10 s" in told
    assert start_from(mobilenet("cd", 1, window_s=2.0), tmp_path / "run").notes == ()


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"name": "resnet50", "options": {}}, "Give --model mobilenetv2"),
        ({"options": {"width": 0.5, "last_channels": 32}}, "Give --model-options width=0.25"),
    ],
)
def test_another_network_is_refused_with_the_options_to_give(tmp_path, config, named):
    folder = saved(mobilenet("ab", 0), tmp_path / "run")
    new = build_tagger({"name": "mobilenetv2", "class_ids": ["c"], **config})
    with pytest.raises(InputError, match=named):
        start_from(new, folder)


def test_dropout_may_be_another(tmp_path):
    folder = saved(mobilenet("ab", 0), tmp_path / "run")
    options = {"width": 0.25, "last_channels": 32, "dropout": 0.0}
    start_from(build_tagger({"name": "mobilenetv2", "class_ids": ["c"], "options": options}), folder)


def test_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a model folder"):
        start_from(mobilenet("ab", 0), tmp_path)


def test_a_file_of_weights_names_the_command_that_makes_a_folder(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"weights.pt: is a file, not a run folder\. .* first: train import"):
        start_from(mobilenet("ab", 0), tmp_path / "weights.pt")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "net.", "model._orig_mod.module.", "a.b."])
def test_weights_saved_again_under_a_prefix_are_taken(tmp_path, capsys, prefix):
    trained = mobilenet("ab", 0)
    folder = saved(trained, tmp_path / "run")
    state = trained.network.state_dict()
    beside = {} if prefix in ("module.", "_orig_mod.") else {"loss.weight": torch.ones(2)}
    save_file({f"{prefix}{name}": value for name, value in state.items()} | beside, folder / "model.safetensors")
    loaded, started = load_model(folder).network.state_dict(), mobilenet("cde", 1)
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)
    assert start_from(started, folder).fresh == HEAD
    fresh = started.network.state_dict()
    assert all(torch.equal(fresh[name], state[name]) for name in state if name not in HEAD)
    assert ("1 tensors outside" in capsys.readouterr().err) == bool(beside)


def test_ast_of_short_windows_starts_one_of_long_clips(tmp_path):
    short, long = (
        build_tagger({
            "name": "ast_tiny", "class_ids": list(class_ids), "window_s": window_s,
            "options": {"stride": 16, "n_mels": 32}, "front_end": {"n_mels": 32, "hop": 320},
        })
        for class_ids, window_s in (("ab", 1.0), ("cde", 2.0))
    )  # fmt: skip
    started = start_from(long, saved(short, tmp_path / "run"))
    assert started.fitted == ("layers.pos_embed",) and set(started.fresh) == {"linear.weight", "linear.bias"}
    theirs, ours = short.network.layers.pos_embed, long.network.layers.pos_embed
    assert torch.equal(ours[:, :2], theirs[:, :2]) and ours.shape[1] > theirs.shape[1]
    low, high = (embedding[:, 2:].mean() for embedding in (theirs, ours))
    assert torch.isclose(low, high, atol=1e-2)
    assert torch.equal(long.network.norm.weight, short.network.norm.weight)
    assert long.eval()(torch.randn(1, 32_000)).shape == (1, 3)
