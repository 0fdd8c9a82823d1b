"""Taggers: waveforms of any length to scores; folders that rebuild them."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from pseudolabel.audio.frontend import KaldiFbank, LogMel
from pseudolabel.errors import InputError
from pseudolabel.models import load_model, save_model
from pseudolabel.models.checkpoints import load_state
from pseudolabel.models.files import start_from
from pseudolabel.models.tagger import build_tagger
from pseudolabel.records import sha256

CLASSES = {"class_ids": ["/m/09x0r", "/m/04rlf", "/m/0bt9lr"], "class_names": ["Speech", "Music", "Dog"]}
CONFIGS = {
    "mobilenetv2": {"name": "mobilenetv2", **CLASSES, "options": {"width": 0.25}, "front_end": {"hop": 320}},
    "efficientnet_b0": {"name": "efficientnet_b0", **CLASSES, "front_end": {"hop": 320, "n_mels": 64}},
    "resnet50": {"name": "resnet50", **CLASSES, "front_end": {"hop": 320, "n_mels": 64}},
    "mbnet": {"name": "mbnet", **CLASSES, "front_end": {"hop": 320, "n_mels": 64}},
    "ast_tiny": {
        "name": "ast_tiny", **CLASSES, "options": {"stride": 16}, "front_end": {"hop": 320, "n_mels": 64},
        "window_s": 2.0,
    },
}  # fmt: skip
EACH = pytest.mark.parametrize("name", CONFIGS)
RATE = 16_000


@pytest.fixture(scope="module")
def taggers(settled) -> dict[str, torch.nn.Module]:
    made = {}
    for name, config in CONFIGS.items():
        torch.manual_seed(1)  # an untrained network of another seed may amplify how float32 sums are rounded
        made[name] = settled(build_tagger(config), noise(4, RATE))
    return made


def noise(n_clips: int, n_samples: int) -> torch.Tensor:
    return torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(n_samples)) * 0.1


@EACH
def test_every_learnable_weight_has_a_part_in_the_answer(name):
    """Processes that share gradients would wait for one that never comes."""
    tagger = build_tagger(CONFIGS[name]).train()
    tagger(0.1 * torch.randn(2, 2 * RATE)).sum().backward()
    assert [key for key, weight in tagger.named_parameters() if weight.requires_grad and weight.grad is None] == []


def test_a_model_may_state_its_precision():
    assert build_tagger(CONFIGS["mobilenetv2"]).config["precision"] is None
    assert build_tagger({**CONFIGS["mobilenetv2"], "precision": "float32"}).config["precision"] == "float32"
    with pytest.raises(InputError, match="precision is 'half'; known: float32, bf16"):
        build_tagger({**CONFIGS["mobilenetv2"], "precision": "half"})


@EACH
@pytest.mark.parametrize("n_samples", [10 * RATE, 5 * RATE, 2 * RATE, 34_567, 5_000, 1])
def test_any_length_gets_one_score_per_class(taggers, name, n_samples):
    with torch.no_grad():
        scores = taggers[name](noise(2, n_samples))
    assert scores.shape == (2, 3)
    assert scores.dtype == torch.float32
    assert scores.min() > 0
    assert scores.max() < 1


@EACH
def test_scores_of_a_clip_do_not_depend_on_its_neighbours(taggers, name):
    waveforms = noise(3, 2 * RATE) * torch.tensor([[0.01], [1.0], [10.0]])
    with torch.no_grad():
        together = taggers[name](waveforms)
        alone = torch.cat([taggers[name](clip[None]) for clip in waveforms])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "ast_tiny"])
def test_frame_scores_cover_the_clip_and_nothing_else(taggers, name):
    tagger = taggers[name]
    assert tagger.frame_s == pytest.approx(0.64)  # 32 frames of 20 ms
    for seconds in (10, 5, 2, 0.1):
        waveforms = noise(2, round(seconds * RATE))
        with torch.no_grad():
            scores = tagger.frame_scores(waveforms)
        n_frames = tagger.front_end.n_frames(waveforms.shape[1])
        assert scores.shape[0::2] == (2, 3)
        assert scores.shape[1] in {-(-n_frames // 32), max(1, n_frames // 32)}
        assert scores.dtype == torch.float32
        assert scores.min() > 0
        assert scores.max() < 1


def test_frame_scores_of_the_decision_mean_average_to_the_clip_s_score(taggers):
    waveforms = noise(2, 5 * RATE)
    with torch.no_grad():
        frames, clip = taggers["mobilenetv2"].frame_scores(waveforms), taggers["mobilenetv2"](waveforms)
    torch.testing.assert_close(frames.mean(dim=1), clip)


def test_frame_scores_hear_when_something_sounds(taggers):
    """A burst in the eighth second changes the scores around it most."""
    quiet = noise(1, 10 * RATE)
    loud = quiet.clone()
    loud[:, 7 * RATE : 8 * RATE] *= 30
    tagger = taggers["mobilenetv2"]
    with torch.no_grad():
        change = (tagger.frame_scores(loud) - tagger.frame_scores(quiet)).abs().amax(dim=(0, 2))
    assert 6 <= change.argmax() * tagger.frame_s <= 9


def test_ast_has_no_frame_scores_and_says_so(taggers):
    with pytest.raises(InputError, match="ast_tiny: scores its whole extent and has no frame scores"):
        taggers["ast_tiny"].frame_scores(noise(1, RATE))


def test_short_features_are_filled_up_to_what_the_config_says():
    tagger = build_tagger({**CONFIGS["mobilenetv2"], "fill": -3.0, "min_frames": 80}).eval()
    features = torch.randn(1, 50, 64)
    with torch.no_grad():
        expected = tagger.network(torch.nn.functional.pad(features, (0, 0, 0, 30), value=-3.0))
        assert torch.equal(tagger.from_features(features), expected)
        assert torch.equal(tagger.from_features(features.repeat(1, 2, 1)), tagger.network(features.repeat(1, 2, 1)))


def test_presets_are_the_published_front_ends():
    psl = build_tagger({"name": "mobilenetv2", **CLASSES, "options": {"width": 0.25}})
    assert isinstance(psl.front_end, LogMel)
    assert (psl.sample_rate, psl.front_end.n_mels, psl.front_end.n_frames(10 * RATE)) == (RATE, 64, 1_001)
    psla = build_tagger({"name": "efficientnet_b0", **CLASSES})
    assert isinstance(psla.front_end, KaldiFbank)
    assert (psla.front_end.settings.mean, psla.front_end.settings.std) == (-4.6476, 4.5699)


def test_ast_gets_the_extent_of_its_training_window(taggers):
    assert taggers["ast_tiny"].network.n_frames == taggers["ast_tiny"].front_end.n_frames(2 * RATE)


def test_fixed_extent_averages_consecutive_pieces_the_last_aligned_to_the_end(taggers):
    tagger = taggers["ast_tiny"]
    extent = tagger.network.n_frames
    features = torch.randn(2, 2 * extent + 10, 64)
    pieces = [features[:, :extent], features[:, extent : 2 * extent], features[:, -extent:]]
    with torch.no_grad():
        expected = torch.stack([tagger.network(piece) for piece in pieces]).mean(0)
        torch.testing.assert_close(tagger.from_features(features), expected, atol=1e-6, rtol=0)


def test_fixed_extent_fills_what_is_missing_with_silence(taggers):
    tagger = taggers["ast_tiny"]
    features = torch.randn(1, 20, 64)
    silence = torch.full((1, tagger.network.n_frames - 20, 64), tagger.front_end.silence)
    with torch.no_grad():
        assert torch.equal(tagger.from_features(features), tagger.network(torch.cat([features, silence], dim=1)))


@pytest.mark.parametrize(
    ("fill", "value"),
    [(None, -2.4716), ("silence", -2.4716), ("psla", 1.0170), (-1.5, -1.5)],  # psla: (0 + 4.6476) / 4.5699
)
def test_fill_is_silence_or_what_psla_has_or_any_value(fill, value):
    tagger = build_tagger({"name": "efficientnet_b0", **CLASSES, "fill": fill})
    assert tagger.config["fill"] == pytest.approx(value, abs=1e-4)
    assert build_tagger(tagger.config).config == tagger.config


def test_unknown_fill_is_refused():
    with pytest.raises(InputError, match="'mean' is neither a finite number nor one of: silence, psla"):
        build_tagger({"name": "mobilenetv2", **CLASSES, "fill": "mean"})


def test_fill_can_be_chosen():
    tagger = build_tagger({**CONFIGS["ast_tiny"], "fill": 0}).eval()
    features = torch.randn(1, 20, 64)
    with torch.no_grad():
        padded = torch.nn.functional.pad(features, (0, 0, 0, tagger.network.n_frames - 20))
        assert torch.equal(tagger.from_features(features), tagger.network(padded))


@EACH
def test_gradients_reach_the_network_and_stop_at_the_waveform(name):
    tagger = build_tagger(CONFIGS[name])
    assert not tagger.features(noise(2, RATE)).requires_grad
    tagger(noise(2, RATE)).sum().backward()
    assert all(parameter.grad is not None for parameter in tagger.parameters())
    waveforms = noise(2, RATE).requires_grad_()
    tagger(waveforms).sum().backward()
    assert waveforms.grad.isfinite().all()


@EACH
def test_what_is_saved_scores_the_same_when_loaded(taggers, name, tmp_path):
    save_model(tmp_path / "run", taggers[name])
    state = torch.get_rng_state()
    loaded = load_model(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.training
    assert loaded.config == taggers[name].config
    with torch.no_grad():
        assert torch.equal(loaded(noise(2, 30_000)), taggers[name](noise(2, 30_000)))


def test_the_same_model_is_saved_as_the_same_bytes(taggers, tmp_path):
    save_model(tmp_path / "a", taggers["mobilenetv2"])
    save_model(tmp_path / "b", load_model(tmp_path / "a"))
    for name in ("model.safetensors", "config.json"):
        assert sha256(tmp_path / "a" / name) == sha256(tmp_path / "b" / name)


def test_config_names_the_format_and_spells_out_the_defaults(taggers, tmp_path):
    save_model(tmp_path, taggers["mobilenetv2"])
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["format"], config["format_version"]) == ("pseudolabel-model", 1)
    assert config["class_names"] == CLASSES["class_names"]
    assert config["front_end"]["top_db"] == 120.0
    assert config["options"]["last_channels"] == 1280
    assert config["fill"] == -100.0


@pytest.fixture
def folder(taggers, tmp_path):
    save_model(tmp_path, taggers["mobilenetv2"])
    return tmp_path


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def test_missing_files_are_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model.safetensors: no such file"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json: no such file: not a model folder"):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "mobilenetv3"}, "unknown model 'mobilenetv3'. Nearest: mobilenetv2"),
        ({"format_version": 2}, "format is not 'pseudolabel-model' version 1"),
        ({"options": {"width": "wide"}}, "cannot build a model from the config"),
        ({"options": {"width": 1e6}}, "its network has"),
        ({"options": {"width": 10**12}}, "cannot build a model from the config"),
        ({"options": ["width"]}, "options is not an object of names and values"),
        ({"front_end": "log_mel"}, "front_end is not an object of names and values"),
        ({"min_frames": 10**12}, "min_frames is 1000000000000, which must be 0 to 1000000"),
        ({"min_frames": 40.5}, "min_frames is 40.5, not a whole number"),
        ({"max_frames": 40.5}, "max_frames is 40.5, not a whole number"),
        ({"max_frames": 50, "window_s": 2.0}, "max_frames is 50, but clips are filled up to 101"),
        ({"fill": 1e39}, "1e+39 is neither a finite number"),
        ({"fill": True}, "True is neither a finite number"),
        ({"window_s": "long"}, "window_s is 'long', not a length in seconds"),
        ({"options": {"depth": 3}}, "unknown option 'depth' of mobilenetv2"),
        ({"front_end": {"name": "log_mel", "hop": 0}}, "must be positive"),
        ({"class_ids": ["a", "b"]}, "2 class_ids but 3 class_names"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"options": {"width": 0.5}}, "have another shape"),
        ({"options": {"width": 0.25, "input_norm": "batch"}}, "5 tensors are missing (input_norm.weight"),
    ],
)
def test_config_that_does_not_fit_is_refused_in_one_line(folder, changes, said):
    edit_config(folder, **changes)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_in_one_line(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as plain tensors"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        load_model(folder)


def test_weights_of_another_network_are_named(folder):
    edit_weights(folder, lambda state: state.update(stranger=torch.zeros(1)))
    with pytest.raises(InputError, match=r"1 are unknown \(stranger\)"):
        load_model(folder)
    edit_weights(folder, lambda state: (state.pop("stranger"), state.update({"head.linear.bias": torch.zeros(9)})))
    with pytest.raises(InputError, match=r"head.linear.bias \(9,\) instead of \(3,\)"):
        load_model(folder)


class Trap:
    """Pickled code: loading it would run it."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_pickled_code_is_refused_not_run(tmp_path):
    torch.save({"weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match="names to tensors; not tensors, of 1 entries: weight"):
        load_state(tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(InputError, match="cannot be read as plain tensors"):
        load_state(tmp_path / "plain.pth")


def test_state_files_of_both_kinds_read_back_equal_and_checksums_are_checked(tmp_path):
    state = {"a": torch.arange(3.0)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": {"module.a": state["a"]}}, tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("a.safetensors", "a.pth"):
        assert torch.equal(load_state(tmp_path / name, sha256(tmp_path / name))["a"], state["a"])
        with pytest.raises(InputError, match="expected 00"):
            load_state(tmp_path / name, "00")
    with pytest.raises(InputError, match="not a mapping from names to tensors"):
        load_state(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": None}, "'name' is missing or empty"),
        ({"class_ids": []}, "'class_ids' is missing or empty"),
        ({"class_ids": ["a", "a", "b"]}, "class ids are listed twice: a"),
        ({"sample_rate": 32_000}, "sample_rate is 32000 Hz, but the front end's is 16000 Hz"),
        ({"options": {"n_mels": 128}}, "the network has 128 mel bands, the front end 64"),
        ({"windows": 2}, "unknown key 'windows'. Nearest: window_s"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(InputError) as caught:
        build_tagger({**CONFIGS["mobilenetv2"], **changes})
    assert said in str(caught.value)


@pytest.mark.parametrize("waveforms", [torch.zeros(RATE), torch.zeros(2, 0), torch.zeros(2, RATE, dtype=torch.int16)])
def test_bad_waveforms_are_refused(taggers, waveforms):
    with pytest.raises(InputError, match="waveforms"):
        taggers["mobilenetv2"](waveforms)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@EACH
def test_the_accelerator_agrees_with_the_cpu(taggers, name, tmp_path):
    save_model(tmp_path, taggers[name])
    on_device = load_model(tmp_path, "cuda")
    waveforms = noise(4, 2 * RATE)
    with torch.no_grad():
        expected = taggers[name](waveforms)
        torch.testing.assert_close(on_device(waveforms.cuda()).cpu(), expected, atol=1e-3, rtol=0)
        with torch.autocast("cuda", torch.bfloat16):
            half = on_device(waveforms.cuda())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.cpu(), expected, atol=0.05, rtol=0)


def test_a_config_of_an_earlier_version_in_samples_answers_the_same(tmp_path):
    tagger = build_tagger(
        {"name": "mobilenetv2", **CLASSES, "options": {"width": 0.1}, "front_end": {"hop": 320}}
    ).eval()
    save_model(tmp_path / "model", tagger)
    path, waveforms = tmp_path / "model" / "config.json", torch.randn(2, RATE)
    config = json.loads(path.read_text())
    assert (config["front_end"].pop("hop_s"), config["front_end"].pop("window_s")) == (0.02, 0.032)
    del config["front_end"]["reference_rate"]
    config["front_end"] |= {"hop": 320, "n_fft": 512}
    path.write_text(json.dumps(config))
    earlier = load_model(tmp_path / "model")
    assert torch.equal(earlier(waveforms), tagger(waveforms)) and earlier.config == tagger.config
    assert start_from(tagger, tmp_path / "model").notes == ()


def test_networks_take_clips_of_another_rate_with_the_front_end_of_the_same_seconds():
    tagger = build_tagger({"name": "efficientnet_b0", **CLASSES, "front_end": {"sample_rate": 2 * RATE}})
    settings = tagger.front_end.settings
    assert (settings.window, settings.hop, tagger.front_end.n_frames(20 * RATE)) == (800, 320, 998)
    assert (settings.mean, settings.f_max) == (-4.6476, 8_000.0)
