"""Networks: sizes as published, scores in range, any length, one clip at a time or many."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from pseudolabel.errors import InputError
from pseudolabel.models.ast import fitted_positions
from pseudolabel.models.mobilenetv2 import scaled_channels
from pseudolabel.models.networks import NETWORKS, build_model, n_parameters
from pseudolabel.models.pooling import EPSILON, AttentionPooling, MeanPooling
from pseudolabel.models.weights import one_channel

SMALL = {  # the cheapest network of each kind, and the features it takes
    "mobilenetv2": ({"width": 0.25}, (100, 64)),
    "efficientnet_b0": ({"heads": 2}, (100, 64)),
    "resnet50": ({}, (100, 64)),
    "mbnet": ({}, (100, 64)),
    "ast_tiny": ({"stride": 16, "n_frames": 100, "n_mels": 64}, (100, 64)),
}
EACH = pytest.mark.parametrize("name", SMALL)


@pytest.fixture(scope="module")
def networks(settled) -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    return {name: settled(build_model(name, 7, **options), decibels(4)) for name, (options, _) in SMALL.items()}


def decibels(n_clips: int, n_frames: int = 100, n_mels: int = 64) -> torch.Tensor:
    """Features like PSL's: no normalisation, about -80 to 20."""
    generator = torch.Generator().manual_seed(n_frames)
    return torch.rand(n_clips, n_frames, n_mels, generator=generator) * 100 - 80


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_lists_the_options_of_each_network_s_class(name):
    entry = NETWORKS[name]
    network = getattr(importlib.import_module(f"pseudolabel.models.{entry.module}"), entry.class_name)
    assert tuple(inspect.signature(network).parameters) == ("n_classes", *entry.fixed, *entry.options)
    assert entry.imagenet == hasattr(network, "first_weight")


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("mobilenetv2", {}, 2.90),
        ("efficientnet_b0", {"heads": 1}, 5.36),
        ("efficientnet_b2", {"heads": 0}, 8.44),
        ("efficientnet_b2", {"heads": 1}, 9.19),
        ("efficientnet_b2", {"heads": 4}, 13.64),
        ("resnet50", {}, 25.66),
        ("mbnet", {}, 2.90),
    ],
)
def test_parameters_are_the_published_ones(name, options, millions):
    with torch.device("meta"):
        network = build_model(name, 527, **options)
    assert round(n_parameters(network) / 1e6, 2) == millions


@pytest.mark.parametrize(("stride", "patches"), [(10, 1212), (16, 512)])
def test_ast_has_the_published_patches(stride, patches):
    assert build_model("ast_tiny", 5, stride=stride).layers.patch_embed.num_patches == patches


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_ast_s_attention_is_fused_in_every_block(size):
    with torch.device("meta"):
        network = build_model(f"ast_{size}", 5)
    assert [block.attn.fused_attn for block in network.layers.blocks] == [True] * 12


def test_ast_calls_the_fused_attention_of_torch(networks, monkeypatch):
    calls, fused = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k)
    )
    with torch.no_grad():
        networks["ast_tiny"](decibels(1))
    assert len(calls) == 12


def test_frozen_ast_learns_its_last_norm_and_linear_layer_alone():
    network = build_model("ast_tiny", 7, **SMALL["ast_tiny"][0], frozen=True)
    learns = {name for name, value in network.named_parameters() if value.requires_grad}
    assert learns == {"norm.weight", "norm.bias", "linear.weight", "linear.bias"}
    assert n_parameters(network, learnable=True) == 192 + 192 + 7 * 192 + 7
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    network(decibels(2)).sum().backward()
    optimizer.step()
    assert {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])} == learns
    assert build_model("ast_tiny", 7, **network.options).layers.cls_token.requires_grad is False


@pytest.mark.parametrize(("stride", "n_frames", "n_mels"), [(10, 198, 128), (16, 498, 128), (10, 33, 64), (7, 16, 16)])
def test_ast_takes_any_extent_it_is_built_for(stride, n_frames, n_mels):
    network = build_model("ast_tiny", 3, stride=stride, n_frames=n_frames, n_mels=n_mels)
    with torch.no_grad():
        assert network(decibels(1, n_frames, n_mels)).shape == (1, 3)


@EACH
def test_scores_are_float32_probabilities_that_keep_a_loss_finite(networks, name):
    with torch.no_grad():
        for features in (decibels(2), decibels(2) * 1e4, torch.zeros(2, *SMALL[name][1])):
            scores = networks[name](features)
            assert scores.shape == (2, 7)
            assert scores.dtype == torch.float32
            assert scores.min() >= EPSILON
            assert scores.max() <= 1 - EPSILON
            assert torch.nn.functional.binary_cross_entropy(scores, torch.ones(2, 7)).isfinite()


@EACH
def test_scores_stay_float32_under_autocast(networks, name):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = networks[name](decibels(1))
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


def first_convolution(network: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Return what comes out of a network's first convolution."""
    seen = []
    layer = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    hook = layer.register_forward_hook(lambda _module, _input, output: seen.append(output))
    with torch.no_grad():
        network(features)
    hook.remove()
    return seen[0]


@EACH
def test_features_do_not_pass_through_bfloat16_under_autocast(networks, name):
    features = decibels(2)
    expected = first_convolution(networks[name], features)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(first_convolution(networks[name], features), expected)


def test_efficientnet_answers_what_its_library_does(networks):
    """The loop over its blocks is ours; in training each block is left out at its own rate."""
    network, features = networks["efficientnet_b0"], decibels(2)
    for mode in (network.eval, network.train):
        with torch.no_grad():
            mode()
            torch.manual_seed(0)
            found = network.sequence(features)
            torch.manual_seed(0)
            theirs = network.layers.extract_features(features.transpose(1, 2).unsqueeze(1))
        assert torch.equal(found, theirs.mean(dim=2).transpose(1, 2))
    network.eval()


@EACH
def test_scores_of_a_clip_do_not_depend_on_its_neighbours(networks, name):
    features = decibels(3)
    with torch.no_grad():
        together = networks[name](features)
        alone = torch.cat([networks[name](clip[None]) for clip in features])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


@EACH
def test_every_parameter_learns(name):
    """A parameter without a gradient breaks distributed training."""
    network = build_model(name, 3, **SMALL[name][0])
    network(decibels(2)).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@EACH
def test_options_rebuild_the_same_shapes(networks, name):
    again = build_model(name, 7, **networks[name].options)
    assert again.options == networks[name].options
    again.load_state_dict(networks[name].state_dict())


@pytest.mark.parametrize("name", ["mobilenetv2", "efficientnet_b0", "resnet50", "mbnet"])
@pytest.mark.parametrize("n_frames", [32, 33, 101, 250])
def test_convolutional_networks_take_any_length(networks, name, n_frames):
    with torch.no_grad():
        frame_scores = networks[name].frame_scores(decibels(1, n_frames))
        assert networks[name](decibels(1, n_frames)).shape == (1, 7)
    assert frame_scores.shape[0::2] == (1, 7)
    if name != "efficientnet_b0":  # whose static padding rounds down
        assert frame_scores.shape[1] == -(-n_frames // 32)
    if name == "mobilenetv2":
        torch.testing.assert_close(frame_scores.mean(1), networks[name](decibels(1, n_frames)))
    if name == "mbnet":  # the mean of logits, where PSL has that of answers
        clip_scores = frame_scores.logit().mean(1).sigmoid()
        torch.testing.assert_close(clip_scores, networks[name](decibels(1, n_frames)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding", ["dynamic", "static260", "symmetric"])
def test_padding_variants_of_efficientnet_differ_on_the_same_weights(networks, padding):
    same_weights = build_model("efficientnet_b0", 7, heads=2, padding=padding).eval()
    same_weights.load_state_dict(networks["efficientnet_b0"].state_dict())
    with torch.no_grad():
        assert not torch.allclose(same_weights(decibels(1, 101)), networks["efficientnet_b0"](decibels(1, 101)))


def test_scaled_channels_are_multiples_of_eight_and_lose_at_most_a_tenth():
    assert [scaled_channels(32, width) for width in (0.25, 0.35, 0.5, 0.75, 1.0)] == [8, 16, 16, 24, 32]
    assert [scaled_channels(16, width) for width in (0.25, 0.5, 1.4)] == [8, 8, 24]


def test_narrow_mobilenet_keeps_1280_last_channels_unless_told():
    assert build_model("mobilenetv2", 2, width=0.25).head.linear.in_features == 1280
    assert build_model("mobilenetv2", 2, width=0.25, last_channels=320).head.linear.in_features == 320
    assert build_model("mobilenetv2", 2, width=1.4).options["last_channels"] == 1792


def test_input_norm_makes_scores_independent_of_the_decibel_reference_in_training():
    torch.manual_seed(0)
    network = build_model("mobilenetv2", 4, width=0.25, dropout=0.0, input_norm="batch")
    features = decibels(4)
    torch.testing.assert_close(network(features), network(features + 30), atol=1e-4, rtol=0)


def slow_attention(pooling: AttentionPooling, sequence: torch.Tensor) -> torch.Tensor:
    """Return PSLA's pooling of one clip (F, C), one head and one class at a time."""
    n_classes, weights = pooling.n_classes, pooling.head_weights
    scores = torch.zeros(n_classes)
    for head in range(pooling.heads):
        for k in range(n_classes):
            row = head * n_classes + k
            attention = torch.sigmoid(sequence @ pooling.attention.weight[row] + pooling.attention.bias[row])
            classes = torch.sigmoid(sequence @ pooling.classes.weight[row] + pooling.classes.bias[row])
            score = (attention / attention.sum() * classes).sum()
            scores[k] += score * (1.0 if weights is None else weights[head])
    return scores


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_pooling_equals_the_loop_over_heads_and_classes(heads):
    torch.manual_seed(heads)
    pooling = AttentionPooling(6, 3, heads)
    if heads > 1:
        torch.nn.init.uniform_(pooling.head_weights, 0, 0.3)
    sequence = torch.randn(2, 5, 6)
    with torch.no_grad():
        expected = torch.stack([slow_attention(pooling, clip) for clip in sequence])
        torch.testing.assert_close(pooling(sequence), expected)


@pytest.mark.parametrize(("heads", "bound", "of_biases"), [(1, (6 / 400) ** 0.5, 0), (4, 400**-0.5, 400**-0.5)])
def test_attention_starts_as_in_psla(heads, bound, of_biases):
    """One head He uniform, several as torch starts a layer: uniform within these bounds."""
    torch.manual_seed(0)
    pooling = AttentionPooling(400, 500, heads)
    for layer in (pooling.attention, pooling.classes):
        assert 0.999 * bound < layer.weight.max() <= bound and -bound <= layer.weight.min() < -0.999 * bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.01)
        assert 0.98 * of_biases <= layer.bias.abs().max() <= of_biases


def test_mean_pooling_starts_as_psla_does():
    torch.manual_seed(0)
    linear, bound = MeanPooling(400, 500).linear, (6 / 400) ** 0.5
    assert 0.999 * bound < linear.weight.max() <= bound and not linear.bias.any()


def test_convolutions_of_mobilenetv2_start_xavier_uniform():
    torch.manual_seed(0)
    network = build_model("mobilenetv2", 3)
    for weight in (module.weight for module in network.modules() if isinstance(module, torch.nn.Conv2d)):
        n_out, n_in, height, width = weight.shape
        bound = (6 / ((n_out + n_in) * height * width)) ** 0.5
        assert 0.95 * bound < weight.abs().max() <= bound
        assert float(weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.15)


def test_head_weights_above_one_in_sum_cannot_push_a_score_above_one():
    pooling = AttentionPooling(4, 2, 2)
    torch.nn.init.constant_(pooling.head_weights, 3.0)
    assert pooling(torch.ones(1, 3, 4)).max() <= 1 - EPSILON
    assert pooling.frame_scores(torch.ones(1, 3, 4)).max() <= 1 - EPSILON


def test_mean_pooling_averages_decisions_not_logits():
    pooling = MeanPooling(1, 1)
    torch.nn.init.ones_(pooling.linear.weight)
    torch.nn.init.zeros_(pooling.linear.bias)
    scores = pooling(torch.tensor([[[0.0], [torch.log(torch.tensor(3.0))]]]))
    assert scores.item() == pytest.approx((1 / 2 + 3 / 4) / 2)


def test_positions_are_cut_at_the_centre_and_stretched_per_axis():
    grid = torch.arange(12.0).reshape(1, 4, 3).expand(2, 4, 3)  # (D, mel, time)
    embedding = torch.cat([torch.full((1, 2, 2), -1.0), grid.flatten(1).T[None]], dim=1)
    fitted = fitted_positions(embedding, (4, 3), (2, 6))
    assert fitted.shape == (1, 2 + 12, 2)
    assert torch.equal(fitted[:, :2], embedding[:, :2])
    assert fitted[0, 2:, 0].reshape(2, 6).mean(1).tolist() == [4.0, 7.0]  # the two middle rows of four
    odd = fitted_positions(embedding, (4, 3), (3, 3))
    assert odd[0, 2:, 0].reshape(3, 3)[:, 0].tolist() == [3.0, 6.0, 9.0]  # AST starts at 4 // 2 - 3 // 2
    assert torch.equal(fitted_positions(embedding, (4, 3), (4, 3)), embedding)


@pytest.mark.parametrize("stem", ["sum", "mean", "random"])
def test_colour_stem_becomes_one_channel(stem):
    weight, initial = torch.rand(5, 3, 2, 2), torch.rand(5, 1, 2, 2)
    expected = {"sum": weight.sum(1, True), "mean": weight.mean(1, True), "random": initial}[stem]
    assert torch.equal(one_channel(weight, initial, stem), expected)


@pytest.mark.parametrize("stem", ["sum", "mean"])
def test_image_weights_from_a_file_reach_efficientnet(tmp_path, stem):
    source = build_model("efficientnet_b0", 2).layers.state_dict()
    colour = {**source, "_conv_stem.weight": torch.rand(32, 3, 3, 3), "_fc.weight": torch.rand(9, 1280)}
    torch.save(colour, tmp_path / "image.pth")
    network = build_model("efficientnet_b0", 2, pretrained=str(tmp_path / "image.pth"), stem=stem)
    expected = {**source, "_conv_stem.weight": one_channel(colour["_conv_stem.weight"], None, stem)}
    assert all(torch.equal(network.layers.state_dict()[name], value) for name, value in expected.items())


def test_image_weights_from_a_file_reach_resnet50(tmp_path):
    from torchvision.models import resnet50

    source = resnet50().state_dict()
    torch.save(source, tmp_path / "resnet50.pth")
    network = build_model("resnet50", 2, pretrained=str(tmp_path / "resnet50.pth"), stem="mean")
    state = network.layers.state_dict()
    assert torch.equal(state["conv1.weight"], source["conv1.weight"].mean(1, keepdim=True))
    assert all(torch.equal(state[name], source[name]) for name in state if name != "conv1.weight")


def test_resnet50_s_features_are_torchvision_s():
    from torchvision.models import resnet50

    network, reference = build_model("resnet50", 2, heads=0), resnet50()
    weights = network.layers.state_dict()
    reference.load_state_dict(
        {**weights, "conv1.weight": weights["conv1.weight"].expand(-1, 3, -1, -1) / 3}, strict=False
    )
    reference.avgpool = reference.fc = torch.nn.Identity()
    features = torch.randn(2, 96, 64)
    with torch.no_grad():
        theirs = reference.train()(features.mT[:, None].expand(-1, 3, -1, -1)).reshape(2, 2048, 2, 3)
        ours = network.train().sequence(features)
    torch.testing.assert_close(ours, theirs.mean(2).mT, atol=1e-3, rtol=1e-3)


def test_image_weights_from_a_file_reach_mbnet(tmp_path):
    source = torchvision.models.mobilenet_v2().state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in source.items()}}, tmp_path / "image.pth")
    network = build_model("mbnet", 2, pretrained=str(tmp_path / "image.pth"))
    state = {f"features.{name}": value for name, value in network.layers.state_dict().items()}
    assert torch.equal(state["features.0.0.weight"], source["features.0.0.weight"].sum(1, keepdim=True))
    del state["features.0.0.weight"]
    assert len(state) > 300 and all(torch.equal(value, source[name]) for name, value in state.items())


@pytest.mark.parametrize("n_frames", [1056, 250])
def test_mbnet_answers_as_torchvision_s_network_with_another_last_layer(settled, n_frames):
    """PSLA's program pools rows and frames at once, as torchvision does, and has no dropout."""
    torch.manual_seed(0)
    reference = torchvision.models.mobilenet_v2()
    reference.features[0][0] = torch.nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    reference.classifier = torch.nn.Linear(1280, 5)
    settled(reference, torch.randn(3, 1, 128, 250))
    network = build_model("mbnet", 5).eval()
    network.layers.load_state_dict(reference.features.state_dict())
    network.linear.load_state_dict(reference.classifier.state_dict())
    features = torch.randn(2, n_frames, 128)
    with torch.no_grad():
        expected = reference(features.mT.unsqueeze(1)).sigmoid()
        torch.testing.assert_close(network(features), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(network.train()(features), reference.train()(features.mT[:, None]).sigmoid())
    assert expected.std() > 1e-3


@pytest.mark.parametrize(("name", "first"), [("resnet50", "conv1"), ("mbnet", "0.0")])
def test_the_layer_of_one_channel_starts_as_torch_starts_one(name, first):
    """PSLA puts a new layer in place of that of three channels: uniform within 1 / sqrt(fan-in)."""
    weight = build_model(name, 3).layers.get_submodule(first).weight.detach()
    bound = weight[0].numel() ** -0.5
    assert 0.97 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_timm_s_efficientnet_weights_give_timm_s_features_under_dynamic_padding(tmp_path, settled):
    import timm

    image = torch.randn(2, 1, 64, 96).expand(2, 3, 64, 96)
    timm_model = settled(timm.create_model("tf_efficientnet_b0"), image)
    save_file(timm_model.state_dict(), tmp_path / "timm.safetensors")
    network = build_model("efficientnet_b0", 2, padding="dynamic", pretrained=str(tmp_path / "timm.safetensors")).eval()
    with torch.no_grad():
        expected = timm_model.forward_features(image)
        ours = network.layers.extract_features(image[:, :1])
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)


def test_image_weights_from_a_file_reach_ast_with_fitted_positions(tmp_path):
    import timm

    image_model = timm.create_model("deit_tiny_distilled_patch16_224")
    torch.save({"model": image_model.state_dict()}, tmp_path / "deit.pth")
    network = build_model("ast_tiny", 3, **SMALL["ast_tiny"][0], pretrained=str(tmp_path / "deit.pth"))
    assert torch.equal(network.layers.blocks[0].attn.qkv.weight, image_model.blocks[0].attn.qkv.weight)
    assert torch.equal(network.layers.patch_embed.proj.weight, image_model.patch_embed.proj.weight.sum(1, True))
    expected = fitted_positions(image_model.pos_embed, (14, 14), (4, 6))
    assert torch.equal(network.layers.pos_embed, expected)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mobilenet", {}, "unknown model 'mobilenet'. Nearest: mobilenetv2. Known: mobilenetv2, efficientnet_b0"),
        ("mobilenetv2", {"widht": 1}, "unknown option 'widht' of mobilenetv2. Nearest: width"),
        ("efficientnet_b0", {"variant": "b2"}, "unknown option 'variant' of efficientnet_b0"),
        ("mobilenetv2", {"width": 0}, "must be positive"),
        ("mobilenetv2", {"input_norm": "layer"}, "input_norm is 'layer'; known: none, batch"),
        ("efficientnet_b0", {"padding": "same"}, "padding is 'same'; known: dynamic, static224, static260, symmetric"),
        ("efficientnet_b0", {"heads": -1}, "at least one head"),
        ("ast_tiny", {"n_frames": 12}, "must be 16 or more"),
        ("efficientnet_b0", {"pretrained": "nowhere.pth"}, "nowhere.pth: no such file of weights"),
    ],
)
def test_bad_options_are_named(name, options, said):
    with pytest.raises(InputError) as caught:
        build_model(name, 3, **options)
    assert said in str(caught.value)


def test_no_classes_is_refused():
    with pytest.raises(InputError, match="at least one class"):
        build_model("mobilenetv2", 0)


def test_ast_refuses_features_of_another_extent(networks):
    with pytest.raises(InputError, match="takes 100 frames x 64 mel bands, not 99 x 64"):
        networks["ast_tiny"](decibels(1, 99))


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet50", "mbnet", "ast_tiny"])
def test_image_weights_that_cannot_be_downloaded_end_in_one_line(monkeypatch, name):
    def offline(*_: object, **__: object):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"cannot be downloaded \(no route to host\).* give its path") as caught:
        build_model(name, 3, pretrained="imagenet")
    assert "\n" not in str(caught.value)


def test_importing_the_room_imports_no_torch():
    program = (
        "import sys, pseudolabel.models.networks as room; assert 'torch' not in sys.modules; print(*room.NETWORKS)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(NETWORKS)
