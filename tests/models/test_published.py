"""Published weights: names and arithmetic of the authors' networks, rebuilt here from what their files hold."""

from __future__ import annotations

import argparse
import json

import as_published
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from pseudolabel.audio.frontend import KaldiFbank, LogMel
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import load_model
from pseudolabel.models.networks import build_model
from pseudolabel.models.published import load_published
from pseudolabel.records import sha256
from pseudolabel.score import main as score
from pseudolabel.scores.store import ScoreStore
from pseudolabel.train import main

RATE = 16_000
# (names and shapes of a block, those of the rest) of ASTForAudioClassification of 192 numbers a token, stride 16 and 3
# classes, as the transformers library has them: version 4 and 5.0.0, version 5.10.0 and 5.24.0
SQUARE, LINE, WIDE = (192, 192), (192,), (768,)
REST = {
    "audio_spectrogram_transformer.embeddings.cls_token": (1, 1, 192),
    "audio_spectrogram_transformer.embeddings.distillation_token": (1, 1, 192),
    "audio_spectrogram_transformer.embeddings.position_embeddings": (1, 514, 192),
    "audio_spectrogram_transformer.embeddings.patch_embeddings.projection.weight": (192, 1, 16, 16),
    "audio_spectrogram_transformer.embeddings.patch_embeddings.projection.bias": LINE,
    "audio_spectrogram_transformer.layernorm.weight": LINE,
    "audio_spectrogram_transformer.layernorm.bias": LINE,
    "classifier.layernorm.weight": LINE,
    "classifier.layernorm.bias": LINE,
    "classifier.dense.weight": (3, 192),
    "classifier.dense.bias": (3,),
}
LAYOUTS = {
    4: ({
        "encoder.layer.{}.attention.attention.query.weight": SQUARE,
        "encoder.layer.{}.attention.attention.query.bias": LINE,
        "encoder.layer.{}.attention.attention.key.weight": SQUARE,
        "encoder.layer.{}.attention.attention.key.bias": LINE,
        "encoder.layer.{}.attention.attention.value.weight": SQUARE,
        "encoder.layer.{}.attention.attention.value.bias": LINE,
        "encoder.layer.{}.attention.output.dense.weight": SQUARE,
        "encoder.layer.{}.attention.output.dense.bias": LINE,
        "encoder.layer.{}.intermediate.dense.weight": (768, 192),
        "encoder.layer.{}.intermediate.dense.bias": WIDE,
        "encoder.layer.{}.output.dense.weight": (192, 768),
        "encoder.layer.{}.output.dense.bias": LINE,
        "encoder.layer.{}.layernorm_before.weight": LINE,
        "encoder.layer.{}.layernorm_before.bias": LINE,
        "encoder.layer.{}.layernorm_after.weight": LINE,
        "encoder.layer.{}.layernorm_after.bias": LINE,
    }, REST),
    5: ({
        "layers.{}.attention.q_proj.weight": SQUARE,
        "layers.{}.attention.q_proj.bias": LINE,
        "layers.{}.attention.k_proj.weight": SQUARE,
        "layers.{}.attention.k_proj.bias": LINE,
        "layers.{}.attention.v_proj.weight": SQUARE,
        "layers.{}.attention.v_proj.bias": LINE,
        "layers.{}.attention.o_proj.weight": SQUARE,
        "layers.{}.attention.o_proj.bias": LINE,
        "layers.{}.layernorm_before.weight": LINE,
        "layers.{}.layernorm_before.bias": LINE,
        "layers.{}.layernorm_after.weight": LINE,
        "layers.{}.layernorm_after.bias": LINE,
        "layers.{}.mlp.fc1.weight": (768, 192),
        "layers.{}.mlp.fc1.bias": WIDE,
        "layers.{}.mlp.fc2.weight": (192, 768),
        "layers.{}.mlp.fc2.bias": LINE,
    }, REST),
}  # fmt: skip
THREE = ("/m/09x0r", "/m/04rlf", "/m/0bt9lr")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A vocabulary of three classes: their number does not change what a network computes."""
    path = tmp_path_factory.mktemp("classes") / "three.csv"
    Vocabulary("three", THREE, THREE, THREE).write(path)
    return path


def convert(arguments: list[str]) -> int:
    return main(["import", *arguments])


def noise(n_clips: int, n_samples: int) -> Tensor:
    return torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(n_samples)) * 0.1


def psla_named(network) -> dict[str, Tensor]:
    """Return an EfficientNet's tensors under PSLA's names and shapes: a pair of 1 x 1 convolutions a head."""
    theirs = {}
    for name, value in network.state_dict().items():
        if name.startswith("layers."):
            theirs[name.replace("layers.", "module.effnet.", 1)] = value
    heads = network.options["heads"]
    for branch, layer in {"att": "attention", "cla": "classes" if heads else "linear"}.items():
        if not heads and branch == "att":
            continue
        layer = getattr(network.head, layer)
        pairs = zip(layer.weight.chunk(max(1, heads)), layer.bias.chunk(max(1, heads)), strict=True)
        for head, (weight, bias) in enumerate(pairs):
            number = f".{head}" if heads > 1 else ""
            theirs[f"module.attention.{branch}{number}.weight"] = weight[:, :, None, None]
            theirs[f"module.attention.{branch}{number}.bias"] = bias
    if heads > 1:
        theirs["module.attention.head_weight"] = network.head.head_weights
    return {name: value.detach().clone() for name, value in theirs.items()}


def ast_named(network) -> dict[str, Tensor]:
    """Return an AST's tensors under its authors' names, with the image classes' layers that they leave in."""
    prefixes = {"layers": "module.v", "norm": "module.mlp_head.0", "linear": "module.mlp_head.1"}
    theirs = {}
    for name, value in network.state_dict().items():
        first, rest = name.split(".", 1)
        theirs[f"{prefixes[first]}.{rest}"] = value.detach().clone()
    width = network.norm.normalized_shape[0]
    for layer in ("head", "head_dist"):
        theirs |= {f"module.v.{layer}.weight": torch.rand(1000, width), f"module.v.{layer}.bias": torch.rand(1000)}
    return theirs


def transformers_named(state: dict[str, Tensor], version: int = 4) -> dict[str, Tensor]:
    """Return AST's tensors as the transformers library names them: query, key and value apart."""
    layers, query, output = {
        4: ("encoder.layer", "attention.attention.{}", "attention.output.dense"),
        5: ("layers", "attention.{0[0]}_proj", "attention.o_proj"),
    }[version]
    names = {
        "v.cls_token": "embeddings.cls_token", "v.dist_token": "embeddings.distillation_token",
        "v.pos_embed": "embeddings.position_embeddings", "v.norm": "layernorm",
        "v.patch_embed.proj": "embeddings.patch_embeddings.projection",
    }  # fmt: skip
    inner = {
        "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": output,
        "mlp.fc1": "intermediate.dense" if version == 4 else "mlp.fc1",
        "mlp.fc2": "output.dense" if version == 4 else "mlp.fc2",
    }  # fmt: skip
    theirs = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        stem, _, kind = name.rpartition(".")
        if name.startswith("mlp_head."):
            theirs[f"classifier.{'layernorm' if '.0.' in name else 'dense'}.{kind}"] = value
        elif name.startswith("v.blocks."):
            number, part = stem.removeprefix("v.blocks.").split(".", 1)
            layer = f"audio_spectrogram_transformer.{layers}.{number}"
            if part == "attn.qkv":
                for branch, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    theirs[f"{layer}.{query.format(branch)}.{kind}"] = third.clone()
            else:
                theirs[f"{layer}.{inner[part]}.{kind}"] = value
        elif name in names:
            theirs[f"audio_spectrogram_transformer.{names[name]}"] = value
        elif stem in names:
            theirs[f"audio_spectrogram_transformer.{names[stem]}.{kind}"] = value
    return theirs


def psla_pooling(state: dict[str, Tensor], features: Tensor, heads: int) -> Tensor:
    """Return what the published last layers answer to features (B, C, 4, F / 32)."""
    prefix = "module.attention."
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    n_classes = next(len(value) for name, value in tensors.items() if name.startswith("cla."))
    pooling = as_published.Heads(features.shape[1], n_classes, heads)
    pooling.load_state_dict(tensors)
    return pooling(features)


def ast_answer(state: dict[str, Tensor], features: Tensor, stride: int) -> Tensor:
    """Return what the published tiny AST answers to features (B, 1024, 128)."""
    network = as_published.Ast(3, 192, stride)
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return network.eval()(features)


@pytest.fixture(scope="module")
def psla(settled, tmp_path_factory):
    """A published-like file of B0 with 4 heads, its tensors, and its network."""
    torch.manual_seed(0)
    network = build_model("efficientnet_b0", 3, heads=4, padding="symmetric")
    torch.nn.init.uniform_(network.head.head_weights, 0.1, 0.4)
    settled(network, torch.randn(3, 96, 128))
    path = tmp_path_factory.mktemp("psla") / "psla.pth"
    torch.save(psla_named(network), path)
    return path, psla_named(network), network


@pytest.mark.parametrize(("name", "heads"), [("efficientnet_b0", 1), ("efficientnet_b2", 4), ("efficientnet_b2", 0)])
def test_psla_weights_find_their_network_and_every_tensor_arrives(three, tmp_path, name, heads):
    network = build_model(name, 3, heads=heads, padding="symmetric")
    torch.save(psla_named(network), tmp_path / "psla.pth")
    tagger = load_published(tmp_path / "psla.pth", vocabulary=three)
    assert tagger.config["name"] == name
    assert tagger.config["options"] == {"heads": heads, "padding": "symmetric"}
    assert tagger.class_ids == list(THREE)
    state = tagger.network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert not tagger.training
    assert tagger.config["precision"] == "float32"


def test_psla_answers_as_its_published_arithmetic(three, psla):
    path, published, _ = psla
    tagger = load_published(path, vocabulary=three)
    features = torch.randn(2, 200, 128)
    with torch.no_grad():
        expected = psla_pooling(published, tagger.network.layers.extract_features(features.mT.unsqueeze(1)), heads=4)
        torch.testing.assert_close(tagger.network(features), expected, atol=1e-6, rtol=0)
    assert expected.std() > 1e-3


def test_psla_s_resnet50_answers_as_torchvision_s_before_attention(three, settled, tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.resnet50()
    network.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    network.avgpool = network.fc = torch.nn.Identity()
    settled(network, torch.randn(2, 1, 128, 96))
    published = {f"module.model.{name}": value for name, value in network.state_dict().items()}
    for branch in ("att", "cla"):
        published[f"module.attention.{branch}.weight"] = torch.randn(3, 2048, 1, 1) * 0.05
        published[f"module.attention.{branch}.bias"] = torch.randn(3) * 0.1
    torch.save(published, tmp_path / "resnet.pth")
    tagger = load_published(tmp_path / "resnet.pth", "psla", vocabulary=three)
    assert (tagger.config["name"], tagger.config["options"]) == ("resnet50", {"heads": 1})
    assert (tagger.config["min_frames"], tagger.config["fill"]) == (1056, pytest.approx(1.017, abs=1e-3))
    features = torch.randn(2, 1056, 128)
    with torch.no_grad():
        maps = network(features.mT.unsqueeze(1)).reshape(2, 2048, 4, 33)
        expected = psla_pooling(published, maps, heads=1)
        torch.testing.assert_close(tagger.network(features), expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3


def test_psla_s_mbnet_answers_as_torchvision_s_with_a_linear_layer(three, settled, tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2()
    network.features[0][0] = torch.nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    network.classifier = torch.nn.Linear(1280, 3)
    settled(network, torch.randn(3, 1, 128, 96))
    published = {f"module.model.{name}": value for name, value in network.state_dict().items()}
    torch.save(published, tmp_path / "mbnet.pth")
    tagger = load_published(tmp_path / "mbnet.pth", "psla", vocabulary=three)
    assert (tagger.config["name"], tagger.config["min_frames"]) == ("mbnet", 1056)
    waveforms = noise(2, 4 * RATE)
    with torch.no_grad():
        features = torch.stack([as_published.fbank(clip, 1056, -4.6476, 4.5699) for clip in waveforms])
        expected = network(features.mT.unsqueeze(1)).sigmoid()
        torch.testing.assert_close(tagger(waveforms), expected, atol=1e-4, rtol=0)
    assert expected.std() > 1e-3


def test_psla_pads_half_a_kernel_on_every_side_at_every_convolution(three, psla):
    """What version 0.7.0 of the library computes for any image size: (p - p // 2) on both sides."""
    layers = load_published(psla[0], vocabulary=three).network.layers
    x = torch.randn(1, 1, 128, 96)
    stem = F.batch_norm(
        F.conv2d(x, layers._conv_stem.weight, None, 2, 1), layers._bn0.running_mean, layers._bn0.running_var,
        layers._bn0.weight, layers._bn0.bias, eps=1e-3,
    )  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(layers._bn0(layers._conv_stem(x)), stem)
    for size in (224, 260):  # the arithmetic that 0.7.0 does while it builds the network
        for module in (layers._conv_stem, *(block._depthwise_conv for block in layers._blocks)):
            kernel, stride = module.kernel_size[0], module.stride[0]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            assert module.static_padding.padding == (total - total // 2,) * 4
            size = -(-size // stride)


def test_psla_takes_1056_frames_filled_with_zero_before_normalisation(three, psla):
    tagger = load_published(psla[0], vocabulary=three)
    assert isinstance(tagger.front_end, KaldiFbank)
    assert (tagger.front_end.settings.mean, tagger.front_end.settings.std) == (-4.6476, 4.5699)
    waveforms = noise(1, 5 * RATE)
    with torch.no_grad():
        expected = tagger.network(as_published.fbank(waveforms[0], 1056, -4.6476, 4.5699)[None])
        torch.testing.assert_close(tagger(waveforms), expected, atol=1e-4, rtol=0)
    assert tagger.config["fill"] == pytest.approx(1.017, abs=1e-3)
    assert tagger.frame_scores(waveforms).shape[1] == -(-498 // 32)  # of the clip, not of the filling


@pytest.fixture(scope="module")
def ast(tmp_path_factory):
    """A published-like file of the tiny AST without overlap, and its tensors."""
    torch.manual_seed(0)
    network = build_model("ast_tiny", 3, stride=16)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    path = tmp_path_factory.mktemp("ast") / "ast.pth"
    torch.save(ast_named(network), path)
    return path, ast_named(network)


def test_ast_answers_as_its_published_arithmetic_on_1024_frames(three, ast):
    path, published = ast
    tagger = load_published(path, vocabulary=three)
    waveforms = noise(2, 4 * RATE) * torch.tensor([[0.1], [3.0]])
    features = torch.stack([as_published.fbank(clip, 1024, -4.2677393, 2 * 4.5689974) for clip in waveforms])
    with torch.no_grad():
        expected = ast_answer(published, features, stride=16)
        torch.testing.assert_close(tagger(waveforms), expected, atol=1e-4, rtol=0)
    assert (expected[0] - expected[1]).abs().max() > 0.01


@pytest.mark.parametrize(("stride", "positions"), [(10, 1212), (12, 850), (14, 657), (16, 512)])
def test_ast_s_stride_is_told_by_its_positions(three, tmp_path, stride, positions):
    network = build_model("ast_tiny", 3, stride=stride)
    assert network.layers.pos_embed.shape[1] == positions + 2
    torch.save(ast_named(network), tmp_path / "ast.pth")
    assert load_published(tmp_path / "ast.pth", "ast", vocabulary=three).config["options"]["stride"] == stride


@pytest.mark.parametrize("version", [4, 5])
def test_ast_of_the_transformers_library_is_the_same_network(three, ast, tmp_path, version):
    path, published = ast
    save_file(transformers_named(published, version), tmp_path / "model.safetensors")
    theirs = load_published(tmp_path / "model.safetensors", vocabulary=three).network.state_dict()
    ours = load_published(path, vocabulary=three).network.state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


@pytest.mark.parametrize("version", LAYOUTS)
def test_the_transformers_library_s_names_are_those_of_this_test(ast, version):
    """What the library wrote for the same network, noted: a block's names, then the others."""
    in_block, others = LAYOUTS[version]
    blocks = {f"audio_spectrogram_transformer.{name.format(number)}": shape
              for number in range(12) for name, shape in in_block.items()}  # fmt: skip
    expected = blocks | others
    assert {name: tuple(value.shape) for name, value in transformers_named(ast[1], version).items()} == expected


def test_ast_that_the_transformers_library_wrote_answers_as_it_does(three, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=192,
        num_attention_heads=3,
        intermediate_size=768,
        num_labels=3,
        frequency_stride=16,
        time_stride=16,
        layer_norm_eps=1e-6,  # as the authors have it
    )
    theirs = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for value in theirs.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    torch.save({"model_state_dict": theirs.state_dict()}, tmp_path / "ast.pt")
    theirs.save_pretrained(tmp_path / "saved")
    features = torch.randn(2, 1024, 128)
    with torch.no_grad():
        expected = theirs(features).logits.sigmoid()
        for path in (tmp_path / "ast.pt", tmp_path / "saved" / "model.safetensors"):
            ours = load_published(path, "ast", vocabulary=three).network(features)
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert (expected[0] - expected[1]).abs().max() > 0.01


def test_tensors_under_the_names_of_two_versions_are_refused(three, ast, tmp_path):
    both = transformers_named(ast[1], 4) | transformers_named(ast[1], 5)
    torch.save(both, tmp_path / "ast.pt")
    with pytest.raises(InputError, match="listed twice, under the names of two versions"):
        load_published(tmp_path / "ast.pt", vocabulary=three)


@pytest.fixture(scope="module")
def psl(settled, tmp_path_factory):
    """A published-like file of PSL's network, and that network."""
    torch.manual_seed(0)
    network = settled(as_published.PslMobileNet(3), as_published.psl_features(noise(4, RATE)))
    path = tmp_path_factory.mktemp("psl") / "psl.pt"
    torch.save({"model": network.state_dict(), "config": {"epochs": 300}}, path)
    return path, network


@pytest.mark.parametrize("n_samples", [10 * RATE, 2 * RATE, 34_567])
def test_psl_answers_as_torchvision_s_network_behind_torchaudio_s_front_end(three, psl, n_samples):
    path, network = psl
    tagger = load_published(path, vocabulary=three)
    assert isinstance(tagger.front_end, LogMel)
    waveforms = noise(1, n_samples)
    with torch.no_grad():
        expected = network(as_published.psl_features(waveforms))
        torch.testing.assert_close(tagger(waveforms), expected, atol=1e-4, rtol=0)


def test_psl_s_front_end_must_be_the_published_one(three, psl, tmp_path):
    state = psl[1].state_dict()
    state["front_end.0.mel_scale.fb"] = state["front_end.0.mel_scale.fb"] * 1.1
    torch.save(state, tmp_path / "psl.pt")
    with pytest.raises(InputError, match=r"its front end differs.*front_end\.0\.mel_scale\.fb"):
        load_published(tmp_path / "psl.pt", vocabulary=three)


def test_published_weights_answer_audioset_s_527_classes_in_its_order(tmp_path):
    audioset = Vocabulary.load("audioset")
    network = as_published.PslMobileNet(len(audioset))
    torch.save(network.state_dict(), tmp_path / "psl.pt")
    config = load_published(tmp_path / "psl.pt").config
    assert tuple(config["class_ids"]) == audioset.class_ids
    assert tuple(config["class_names"]) == audioset.names


FAULTS = [
    ("psla", lambda s: s.pop("module.attention.att.2.weight"), r"looks like psla, .*attention\.att\.2\.weight"),
    ("psla", lambda s: s.pop("module.effnet._bn0.bias"), r"1 tensors are missing \(layers\._bn0\.bias\)"),
    ("psla", lambda s: s.update({"module.stranger": torch.zeros(1)}), r"1 are unknown \(stranger\)"),
    ("psla", lambda s: s.update({"layers._bn0.bias": torch.zeros(1)}), r"1 unknown tensors \(layers\._bn0\.bias\)"),
    ("psla", lambda s: s.update({"module.attention.att.0.bias": torch.zeros(4)}), r"attention\.bias \(13,\) instead"),
    ("ast", lambda s: s.update({"module.v.pos_embed": torch.zeros(1, 40, 192)}), "AST with 38 positions of width 192"),
    ("ast", lambda s: s.update({"module.v.pos_embed": torch.zeros(3)}), "looks like ast, .*misshapen"),
    ("ast", lambda s: s.pop("module.mlp_head.1.bias"), r"missing \(linear\.bias\)"),
    ("psl", lambda s: s.update({"features.19.conv.7.weight": torch.zeros(2)}), "1 are unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "said"), FAULTS)
def test_a_tensor_too_few_or_too_many_is_refused_in_one_line(three, tmp_path, kind, change, said, psla, ast, psl):
    state = dict({"psla": psla[1], "ast": ast[1], "psl": psl[1].state_dict()}[kind])
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=said) as caught:
        load_published(tmp_path / "weights.pth", vocabulary=three)
    assert "\n" not in str(caught.value)
    assert "weights.pth" in str(caught.value)


def beneath(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for prefix in prefixes for name, value in state.items()}


LOSS = {"criterion.pos_weight": torch.ones(3)}
WRAPPED = {
    "lightning": lambda state: {
        "epoch": 3,
        "pytorch-lightning_version": "2.5",
        "state_dict": beneath(state, "model.") | LOSS,
        "hyper_parameters": argparse.Namespace(rate=0.1),
    },
    "compiled": lambda state: {"model": beneath(state, "_orig_mod.module.")},
    "any name": lambda state: beneath(state, "net.module."),
    "two names": lambda state: {"state_dict": beneath(state, "system.backbone.") | LOSS},
    "average beside": lambda state: beneath(state, "net.") | beneath({n: v + 1 for n, v in state.items()}, "net_ema."),
    "average alone": lambda state: {"optimizer": {}, "ema": beneath(state, "module.")},
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("kind", ["psl", "psla", "ast"])
def test_a_network_is_found_in_any_checkpoint(three, tmp_path, kind, form, psla, ast, psl):
    state = {"psla": psla[1], "ast": ast[1], "psl": psl[1].state_dict()}[kind]
    path = {"psla": psla[0], "ast": ast[0], "psl": psl[0]}[kind]
    torch.save(WRAPPED[form](bare(state)), tmp_path / "last.ckpt")
    found, expected = (load_published(file, vocabulary=three).state_dict() for file in (tmp_path / "last.ckpt", path))
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): value for name, value in state.items()}


def test_what_is_beside_a_network_is_named_and_two_networks_are_refused(three, tmp_path, psl, capsys):
    path, state = tmp_path / "last.ckpt", psl[1].state_dict()
    torch.save(beneath(state, "net.") | LOSS, path)
    load_published(path, vocabulary=three)
    assert capsys.readouterr().err == f"{path}: 1 tensors outside net. are not read: criterion.pos_weight\n"
    torch.save(beneath(state, "student.", "teacher."), path)
    with pytest.raises(InputError, match=r"holds several networks: student\., teacher\. Save just the one to load"):
        load_published(path, vocabulary=three)


def test_a_wrapped_checkpoint_scores_as_the_bare_one(three, tmp_path, psl, write_tones):
    work = write_tones(tmp_path / "work", [1.0, 2.0])
    torch.save(WRAPPED["lightning"](psl[1].state_dict()), tmp_path / "last.ckpt")
    for name, path in {"bare": psl[0], "wrapped": tmp_path / "last.ckpt"}.items():
        assert convert([str(path), "--out", str(work / "runs" / name), "--vocabulary", str(three)]) == 0
        command = ["--run", work / "runs" / name, "--clips", work / "clips.h5", "--windows", "clip", "--out"]
        assert score([*map(str, command), str(tmp_path / f"{name}.h5"), "--device", "cpu", "--threads", "1"]) == 0
    scores = [ScoreStore.open(tmp_path / f"{name}.h5").clip_scores() for name in ("bare", "wrapped")]
    assert scores[0].shape == (2, 3) and (scores[0] == scores[1]).all()


def test_the_image_classes_layer_may_stay_in_psla_s_file(three, psla, tmp_path):
    state = psla[1] | {"module.effnet._fc.weight": torch.zeros(1000, 1280), "module.effnet._fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "psla.pth")
    assert load_published(tmp_path / "psla.pth", vocabulary=three)


def test_other_weights_are_named_not_guessed(three, psla, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"not the weights of psla, ast, psl: .* 2 tensors \(conv1.weight, fc.bias\)"):
        load_published(tmp_path / "other.pth", vocabulary=three)
    with pytest.raises(InputError, match="its tensors are those of psla, not of 'ast'"):
        load_published(psla[0], "ast", vocabulary=three)
    with pytest.raises(InputError, match="answers 3 classes, but the vocabulary 'audioset' has 527"):
        load_published(psla[0], vocabulary="audioset")
    with pytest.raises(
        InputError, match=r"answers 3 classes, unlike the lists.* \(audioset 527, fsd50k 200\).*Give --voc"
    ):
        load_published(psla[0])
    with pytest.raises(InputError, match="expected 00"):
        load_published(psla[0], sha256="00", vocabulary=three)


def test_loading_leaves_the_caller_s_seed_alone(three, psl):
    state = torch.get_rng_state()
    load_published(psl[0], vocabulary=three)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_command_writes_a_run_folder_that_scores_the_same(three, psla, tmp_path, capsys):
    arguments = [str(psla[0]), "--out", str(tmp_path / "run"), "--vocabulary", str(three), "--sha256", sha256(psla[0])]
    assert convert(arguments) == 0
    assert "efficientnet_b0" in capsys.readouterr().out
    loaded, direct = load_model(tmp_path / "run"), load_published(psla[0], vocabulary=three)
    assert loaded.config == direct.config
    with torch.no_grad():
        assert torch.equal(loaded(noise(1, RATE)), direct(noise(1, RATE)))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["inputs"] == {str(path): sha256(path) for path in (psla[0], three)}
    assert convert(arguments) == 2
    assert "output exists" in capsys.readouterr().err
    assert convert([*arguments, "--overwrite"]) == 0


def test_the_command_replaces_its_own_folders_alone(three, psla, tmp_path, capsys):
    out, arguments = tmp_path / "run", [str(psla[0]), "--vocabulary", str(three)]
    others = {"notes.txt": "mine", "run.json": json.dumps({"verb": "train"})}
    for name, text in others.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(text)
        for options in ((), ("--overwrite",)):
            assert convert([*arguments, "--out", str(folder), *options]) == 2
            assert [path.read_text() for path in folder.iterdir()] == [text]
    assert convert([*arguments, "--out", str(out)]) == 0
    (out / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(out)
    capsys.readouterr()
    assert convert([*arguments, "--out", str(out), "--overwrite"]) == 2
    assert "holds notes.txt, which train import did not write" in capsys.readouterr().err
    assert convert([*arguments, "--out", str(tmp_path / "link"), "--overwrite"]) == 2
    assert (out / "notes.txt").read_text() == "mine" and (out / "model.safetensors").is_file()
    assert convert([str(psla[0]), "--vocabulary", str(three), "--out", str(psla[0].parent), "--overwrite"]) == 2
    assert "would be replaced while it is an input" in capsys.readouterr().err and psla[0].is_file()


# ---- clips of any length --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def b0(settled, tmp_path_factory):
    """Return a function from a number of classes to a published-like file of B0, and its tensors."""
    made = {}

    def file(n_classes: int):
        if n_classes not in made:
            torch.manual_seed(0)
            network = settled(
                build_model("efficientnet_b0", n_classes, heads=1, padding="symmetric"), torch.randn(3, 96, 128)
            )
            path = tmp_path_factory.mktemp("b0") / "psla.pth"
            torch.save(psla_named(network), path)
            made[n_classes] = path, psla_named(network)
        return made[n_classes]

    return file


def psla_answer(tagger, published, waveforms, n_frames):
    """Return what PSLA's program answers a batch, by its own features and arithmetic behind the same layers."""
    features = torch.stack([as_published.fbank(clip, n_frames, -4.6476, 4.5699) for clip in waveforms])
    return psla_pooling(published, tagger.network.layers.extract_features(features.mT.unsqueeze(1)), heads=1)


def test_200_classes_are_fsd50k_s_in_its_order_on_3000_frames(b0):
    path, published = b0(200)
    tagger, fsd50k = load_published(path), Vocabulary.load("fsd50k")
    assert (tuple(tagger.class_ids), tuple(tagger.config["class_names"])) == (fsd50k.class_ids, fsd50k.names)
    assert (tagger.config["min_frames"], tagger.config["max_frames"]) == (3000, None)
    waveforms = noise(1, 5 * RATE)
    with torch.no_grad():
        expected = psla_answer(tagger, published, waveforms, 3000)
        torch.testing.assert_close(tagger(waveforms), expected, atol=1e-4, rtol=0)
        assert (psla_answer(tagger, published, waveforms, 1056) - expected).abs().max() > 1e-2


def test_527_classes_are_audioset_s_on_1056_frames(b0):
    tagger = load_published(b0(527)[0])
    assert tuple(tagger.class_ids) == Vocabulary.load("audioset").class_ids
    assert tagger.config["min_frames"] == 1056


def test_a_published_list_in_another_order_is_taken_as_it_is(b0, tmp_path):
    """As PSLA's program reads it: index, mid, display_name."""
    fsd50k = Vocabulary.load("fsd50k")
    pairs = list(zip(fsd50k.class_ids, fsd50k.names, strict=True))[::-1]
    rows = [f'{index},{class_id},"{name}"' for index, (class_id, name) in enumerate(pairs)]
    (tmp_path / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    tagger = load_published(b0(200)[0], vocabulary=tmp_path / "class_labels_indices.csv")
    assert tuple(tagger.class_ids) == fsd50k.class_ids[::-1] and tagger.config["min_frames"] == 3000


def test_frames_overrule_what_the_classes_say(b0, three):
    assert load_published(b0(200)[0], frames=1056).config["min_frames"] == 1056
    assert load_published(b0(3)[0], vocabulary=three, frames=3000).config["min_frames"] == 3000
    config = load_published(b0(3)[0], vocabulary=three, frames=500, cut=True).config
    assert (config["min_frames"], config["max_frames"]) == (500, 500)


def test_resnet50_s_program_takes_1056_frames_whatever_the_classes(tmp_path):
    network = build_model("resnet50", 200)
    state = {f"model.{name.removeprefix('layers.')}": value for name, value in network.state_dict().items()
             if name.startswith("layers.")}  # fmt: skip
    for branch in ("att", "cla"):
        state |= {
            f"attention.{branch}.weight": torch.zeros(200, 2048, 1, 1),
            f"attention.{branch}.bias": torch.ones(200),
        }
    torch.save(state, tmp_path / "resnet.pth")
    config = load_published(tmp_path / "resnet.pth").config
    assert (config["min_frames"], len(config["class_ids"])) == (1056, 200)


@pytest.mark.parametrize("seconds", [5, 12])
def test_cut_psla_answers_as_its_program_and_the_default_scores_everything(b0, three, seconds):
    path, published = b0(3)
    uncut, cuts = (load_published(path, vocabulary=three, cut=cut) for cut in (False, True))
    assert (cuts.config["min_frames"], cuts.config["max_frames"]) == (1056, 1056)
    waveforms = noise(1, seconds * RATE)
    waveforms[:, 11 * RATE :] *= 30  # what is heard late alone
    with torch.no_grad():
        expected = psla_answer(cuts, published, waveforms, 1056)
        torch.testing.assert_close(cuts(waveforms), expected, atol=1e-4, rtol=0)
        difference = (uncut(waveforms) - expected).abs().max()
    assert difference > 1e-2 if seconds > 10.56 else difference < 1e-4


def test_cut_ast_answers_its_first_1024_frames_and_the_default_scores_everything(three, tmp_path):
    torch.manual_seed(0)
    network = build_model("ast_tiny", 3, stride=16)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    torch.save(ast_named(network), tmp_path / "ast.pth")
    uncut, cuts = (load_published(tmp_path / "ast.pth", vocabulary=three, cut=cut) for cut in (False, True))
    assert (uncut.config["max_frames"], cuts.config["max_frames"]) == (None, 1024)
    waveforms = noise(1, 12 * RATE)
    waveforms[:, 11 * RATE :] *= 30
    first = as_published.fbank(waveforms[0], 1024, -4.2677393, 2 * 4.5689974)
    whole = as_published.fbank(waveforms[0], 1198, -4.2677393, 2 * 4.5689974)
    with torch.no_grad():
        first, last = (ast_answer(ast_named(network), part[None], 16) for part in (first, whole[-1024:]))
        torch.testing.assert_close(cuts(waveforms), first, atol=1e-4, rtol=0)
        torch.testing.assert_close(uncut(waveforms), (first + last) / 2, atol=1e-4, rtol=0)
    assert (first - last).abs().max() > 1e-2


def test_ast_of_another_extent_takes_its_frames(three, tmp_path):
    torch.save(ast_named(build_model("ast_tiny", 3, stride=10, n_frames=512)), tmp_path / "ast.pth")
    config = load_published(tmp_path / "ast.pth", vocabulary=three, frames=512, cut=True).config
    assert config["options"]["n_frames"] == config["min_frames"] == config["max_frames"] == 512
    with pytest.raises(InputError, match=r"AST with 600 positions .* on 1024 x 128.* Give the --frames"):
        load_published(tmp_path / "ast.pth", vocabulary=three)


@pytest.mark.parametrize("options", [{"cut": True}, {"frames": 1000}, {"frames": 0}])
def test_psl_has_no_length_to_cut_at(three, tmp_path, options):
    torch.save(as_published.PslMobileNet(3).state_dict(), tmp_path / "psl.pt")
    with pytest.raises(InputError, match="clips of any length as they are: --frames and --cut have no meaning"):
        load_published(tmp_path / "psl.pt", vocabulary=three, **options)


@pytest.mark.parametrize("frames", [0, 31, 100_001])
def test_frames_have_bounds(b0, three, frames):
    with pytest.raises(InputError, match=f"--frames: is {frames}, which must be 32 to 100000"):
        load_published(b0(3)[0], vocabulary=three, frames=frames)


def test_the_card_of_a_converted_model_says_what_is_cut_and_what_the_other_option_does(b0, three, tmp_path, capsys):
    said = {}
    for cut in (False, True):
        out = tmp_path / f"run{cut}"
        arguments = [str(b0(3)[0]), "--vocabulary", str(three), "--out", str(out), *(["--cut"] if cut else [])]
        assert convert(arguments) == 0
        said[cut] = (out / "README.md").read_text()
        assert load_model(out).config["max_frames"] == (1056 if cut else None)
        assert "README.md" in json.loads((out / "run.json").read_text())["files"]
        assert capsys.readouterr().out.splitlines()[1] in said[cut]
    filled = "Clips of fewer than 1,056 frames (10.56 s) are filled, after the front end, with 1.017; "
    assert f"{filled}longer ones are scored whole. Its authors' program cuts them there" in said[False]
    assert f"{filled}of longer ones, what is beyond 1,056 frames (10.56 s) is cut. So does its authors'" in said[True]
    assert "converted with `--cut`, the model does so" in said[False] and "converted without, the model" in said[True]
    assert convert([str(b0(3)[0]), "--vocabulary", str(three), "--out", str(tmp_path / "psl"), "--frames", "7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
