"""What the published programs answer, written plainly from what they do, and the table of how far our answers are.

    python tests/models/as_published.py                        # Markdown, a few minutes on one core
    python tests/models/as_published.py recordings/*.flac      # on these too

Front ends are torchaudio's, one clip at a time (PSL: one batch). Networks have the tensor names of the authors' files,
so that the `state_dict` of one is such a file; their weights are random, their batch-norm statistics those of sounds.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio import transforms
from torchaudio.compliance import kaldi

from pseudolabel.audio.frontend import build_frontend
from pseudolabel.models.networks import PSL_FRONT_END, PSLA_FRONT_END
from pseudolabel.models.published import load_published
from pseudolabel.models.tagger import Tagger

RATE = 16_000
SECONDS = (2.0, 3.7, 5.0, 10.0, 12.0)
LEGEND = """Largest difference of a score between their programs and ours, with --cut where theirs cut a clip:
on the same features / from waveforms whose mean was removed / from waveforms. Their fbank programs begin by removing
a clip's mean, which rounds its samples anew; `float32`: how far that and all other rounding brings their own scores
from those of their front end in float64. `uncut`: ours by default, which scores all of a clip. `sounds`: theirs of two.
"""


# Front ends


def fbank(waveform: Tensor, n_frames: int, mean: float, std: float) -> Tensor:
    """PSLA and AST: a clip (T,) to (n_frames, 128); cut, or filled with 0, which is then normalised too."""
    logarithms = kaldi.fbank(
        (waveform - waveform.mean())[None],
        htk_compat=True,
        sample_frequency=RATE,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    features = logarithms.new_zeros(n_frames, 128)
    n_own = min(n_frames, len(logarithms))
    features[:n_own] = logarithms[:n_own]
    return (features - mean) / std


def psla_features(waveforms: Tensor, n_frames: int = 1056) -> Tensor:
    """(B, T) to (B, n_frames, 128); FSD50K has 3,000 frames."""
    return torch.stack([fbank(waveform, n_frames, -4.6476, 4.5699) for waveform in waveforms])


def fsd50k_features(waveforms: Tensor) -> Tensor:
    """(B, T) to (B, 3000, 128)."""
    return psla_features(waveforms, 3000)


def ast_features(waveforms: Tensor) -> Tensor:
    """(B, T) to (B, 1024, 128)."""
    return torch.stack([fbank(waveform, 1024, -4.2677393, 2 * 4.5689974) for waveform in waveforms])


def decibels(waveforms: Tensor) -> Tensor:
    """PSL: (B, T) to (B, T // 160 + 1, 64), none more than 120 dB under the loudest of the batch."""
    power = transforms.Spectrogram(n_fft=512, hop_length=160, power=2.0).to(waveforms.dtype)(waveforms)
    mel = transforms.MelScale(n_mels=64, sample_rate=RATE, n_stft=257).to(waveforms.dtype)(power)
    return transforms.AmplitudeToDB("power", top_db=120)(mel).transpose(1, 2)


def psl_features(waveforms: Tensor) -> Tensor:
    """PSL, where every clip is a batch of its own: whole clips are evaluated one by one."""
    return torch.cat([decibels(waveform[None]) for waveform in waveforms])


# Networks: features (B, F, mel) to probabilities (B, K)


class Heads(nn.Module):
    """PSLA's last layers: several attention heads, one, or the mean of all frames' decisions (0)."""

    def __init__(self, n_features: int, n_classes: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        if n_heads > 1:
            self.att = nn.ModuleList(nn.Conv2d(n_features, n_classes, 1) for _ in range(n_heads))
            self.cla = nn.ModuleList(nn.Conv2d(n_features, n_classes, 1) for _ in range(n_heads))
            self.head_weight = nn.Parameter(torch.full((n_heads,), 1 / n_heads))
        else:
            self.cla = nn.Conv2d(n_features, n_classes, 1)
            if n_heads == 1:
                self.att = nn.Conv2d(n_features, n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, frequency, time) to (B, K)."""
        x = x.mean(dim=2)[..., None]  # (B, C, time, 1)
        if self.n_heads == 0:
            return self.cla(x).sigmoid()[..., 0].mean(dim=2)
        if self.n_heads == 1:
            return attended(self.att(x), self.cla(x))
        pairs = zip(self.att, self.cla, self.head_weight, strict=True)
        return sum(weight * attended(att(x), cla(x)) for att, cla, weight in pairs)


def attended(att: Tensor, cla: Tensor) -> Tensor:
    """Logits of the attention and of the classes, both (B, K, time, 1), to (B, K)."""
    attention = att.sigmoid().clamp(1e-7, 1 - 1e-7)[..., 0]
    return (attention / attention.sum(dim=2, keepdim=True) * cla.sigmoid()[..., 0]).sum(dim=2)


class MBConv(nn.Module):
    """A block of EfficientNet: expand, filter each channel, weigh the channels, project."""

    def __init__(self, n_in: int, n_out: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        hidden, squeezed = n_in * expansion, max(1, n_in // 4)
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(n_in, hidden, 1, bias=False), nn.BatchNorm2d(hidden, 1e-3)
        self._depthwise_conv = padded(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, 1e-3)
        self._se_reduce, self._se_expand = nn.Conv2d(hidden, squeezed, 1), nn.Conv2d(squeezed, hidden, 1)
        self._project_conv, self._bn2 = nn.Conv2d(hidden, n_out, 1, bias=False), nn.BatchNorm2d(n_out, 1e-3)
        self.expands, self.adds = expansion > 1, stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        y = swish(self._bn0(self._expand_conv(x))) if self.expands else x
        y = swish(self._bn1(self._depthwise_conv(y)))
        importance = self._se_expand(swish(self._se_reduce(y.mean(dim=(2, 3), keepdim=True))))
        y = self._bn2(self._project_conv(importance.sigmoid() * y))
        return x + y if self.adds else y


def swish(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x * x.sigmoid()


def padded(n_in: int, n_out: int, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    """A convolution with half a kernel of zeros on every side, which is what efficientnet_pytorch 0.7.0 pads."""
    return nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class EfficientNet(nn.Module):
    """EfficientNet-B0 (Tan & Le 2019, Table 1), or wider and deeper, on one channel, without its last layer."""

    STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
              (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))  # expansion, kernel, stride, channels, repeats  # fmt: skip

    def __init__(self, width: float, depth: float):
        super().__init__()
        channels = in_eights(32 * width)
        self._conv_stem, self._bn0 = padded(1, channels, 3, 2), nn.BatchNorm2d(channels, 1e-3)
        blocks = []
        for expansion, kernel, stride, n_out, repeats in self.STAGES:
            for repeat in range(math.ceil(depth * repeats)):
                blocks.append(MBConv(channels, in_eights(n_out * width), expansion, kernel, 1 if repeat else stride))
                channels = in_eights(n_out * width)
        self._blocks = nn.ModuleList(blocks)
        self.n_features = in_eights(1280 * width)
        self._conv_head = nn.Conv2d(channels, self.n_features, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(self.n_features, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, mel, F) to (B, n_features, mel / 32, F / 32)."""
        x = swish(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return swish(self._bn1(self._conv_head(x)))


def in_eights(channels: float) -> int:
    """The nearest multiple of 8 that is not below 90 %."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class PslaEfficientNet(nn.Module):
    """PSLA's model, and its variants."""

    def __init__(self, n_classes: int, width: float, depth: float, n_heads: int):
        super().__init__()
        self.effnet = EfficientNet(width, depth)
        self.attention = Heads(self.effnet.n_features, n_classes, n_heads)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, 128) to (B, K)."""
        return self.attention(self.effnet(features.transpose(1, 2)[:, None]))


class PslaResNet(nn.Module):
    """PSLA's ResNet-50 with one attention head: torchvision's on one channel, without its last layer."""

    def __init__(self, n_classes: int):
        super().__init__()
        self.model = torchvision.models.resnet50()
        self.model.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.model.avgpool = self.model.fc = nn.Identity()
        self.attention = Heads(2048, n_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 1056, 128) to (B, K)."""
        flat = self.model(features.transpose(1, 2)[:, None])
        return self.attention(flat.reshape(len(features), 2048, 4, 33))


class PslaMobileNet(nn.Module):
    """PSLA's MBNet: torchvision's MobileNetV2 on one channel, mean over frequency and time before the last layer."""

    def __init__(self, n_classes: int):
        super().__init__()
        self.model = torchvision.models.mobilenet_v2()
        self.model.features[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
        self.model.classifier = nn.Linear(1280, n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, 128) to (B, K)."""
        return self.model(features.transpose(1, 2)[:, None]).sigmoid()


class PslMobileNet(nn.Module):
    """PSL's MobileNetV2: mean over frequency, decisions of frames, their mean."""

    def __init__(self, n_classes: int):
        super().__init__()
        # The front end has tensors in the published file.
        spectrum = transforms.MelSpectrogram(RATE, n_fft=512, win_length=512, hop_length=160, n_mels=64)
        self.front_end = nn.Sequential(spectrum, transforms.AmplitudeToDB(top_db=120))
        network = torchvision.models.mobilenet_v2()
        network.features[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
        self.features = network.features
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(1280, n_classes))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, 64) to (B, K)."""
        x = self.features(features.transpose(1, 2)[:, None]).mean(dim=2)
        return self.classifier(x.transpose(1, 2)).sigmoid().mean(dim=1)


class TransformerBlock(nn.Module):
    """A block of a vision transformer."""

    def __init__(self, width: int):
        super().__init__()
        self.n_heads = width // 64
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same."""
        query, key, value = self.attn["qkv"](self.norm1(x)).chunk(3, dim=2)
        heads = []
        for q, k, v in zip(*(part.split(64, dim=2) for part in (query, key, value)), strict=True):
            heads.append((q @ k.transpose(1, 2) / math.sqrt(64)).softmax(dim=2) @ v)
        x = x + self.attn["proj"](torch.cat(heads, dim=2))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Transformer(nn.Module):
    """A distilled vision transformer on patches of one channel; its layers for ImageNet's classes are never asked."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        n_patches = len(range(0, 128 - 15, stride)) * len(range(0, 1024 - 15, stride))
        self.cls_token, self.dist_token = (nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))
        self.pos_embed = nn.Parameter(torch.zeros(1, 2 + n_patches, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, 16, stride)})
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(12))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head, self.head_dist = nn.Linear(width, 1000), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, mel, F) to the mean of the two tokens, (B, width)."""
        patches = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        first = [token.expand(len(x), 1, -1) for token in (self.cls_token, self.dist_token)]
        x = torch.cat([*first, patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return (x[:, 0] + x[:, 1]) / 2


class Ast(nn.Module):
    """AST."""

    def __init__(self, n_classes: int, width: int, stride: int):
        super().__init__()
        self.v = Transformer(width, stride)
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_classes))

    def forward(self, features: Tensor) -> Tensor:
        """(B, 1024, 128) to (B, K)."""
        return self.mlp_head(self.v(features.transpose(1, 2)[:, None])).sigmoid()


# What is compared


@dataclass(frozen=True)
class Published:
    """A published network, its features and its classes."""

    name: str
    build: Callable[[int], nn.Module]
    features: Callable[[Tensor], Tensor]
    front_end: str
    n_classes: int = 527
    whole: bool = False  # takes clips of any length, and keeps the mean of their samples


PUBLISHED = {
    case.name: case
    for case in (
        Published("PSLA B2, 4 heads", lambda k: PslaEfficientNet(k, 1.1, 1.2, 4), psla_features, "fbank 1056"),
        Published("PSLA B2, 1 head", lambda k: PslaEfficientNet(k, 1.1, 1.2, 1), psla_features, "fbank 1056"),
        Published("PSLA B2, mean pooling", lambda k: PslaEfficientNet(k, 1.1, 1.2, 0), psla_features, "fbank 1056"),
        Published("PSLA B0, 4 heads", lambda k: PslaEfficientNet(k, 1.0, 1.0, 4), psla_features, "fbank 1056"),
        Published("PSLA B0, 1 head", lambda k: PslaEfficientNet(k, 1.0, 1.0, 1), psla_features, "fbank 1056"),
        Published("PSLA ResNet-50, 1 head", PslaResNet, psla_features, "fbank 1056"),
        Published("PSLA MBNet", PslaMobileNet, psla_features, "fbank 1056"),
        Published("PSLA FSD50K, B2, 4 heads", lambda k: PslaEfficientNet(k, 1.1, 1.2, 4), fsd50k_features,
                  "fbank 3000", n_classes=200),
        Published("AST tiny, stride 10", lambda k: Ast(k, 192, 10), ast_features, "fbank 1024"),
        Published("AST tiny, stride 16", lambda k: Ast(k, 192, 16), ast_features, "fbank 1024"),
        Published("AST small, stride 10", lambda k: Ast(k, 384, 10), ast_features, "fbank 1024"),
        Published("AST base, stride 10", lambda k: Ast(k, 768, 10), ast_features, "fbank 1024"),
        Published("PSL MobileNetV2", PslMobileNet, psl_features, "decibels", whole=True),
    )
}  # fmt: skip


def sounds(seconds: float, recordings: Sequence[Tensor] = ()) -> Tensor:
    """Return clips (B, T): a rising tone over faint noise, bursts between digital silence, and the recordings.

    A recording that is shorter is repeated.
    """
    n = round(seconds * RATE)
    generator = torch.Generator().manual_seed(n)
    noise, times = torch.randn(2, n, generator=generator), torch.arange(n) / RATE
    rising = 0.5 * torch.sin(2 * math.pi * (80 * times + 300 * times**2)) + 1e-3 * noise[0]
    pulse = torch.exp(-4 * (times % 0.9)) * (times % 1.8 < 0.9)
    bursts = pulse * (0.2 * noise[1] + 0.4 * torch.sin(2 * math.pi * 440 * times))
    longer = [recording.repeat(-(-n // len(recording)))[:n] for recording in recordings]
    return torch.stack([rising, bursts, *longer])


def random_network(case: Published, seed: int = 0) -> nn.Module:
    """Return the network with weights whose answers differ between sounds and are neither all alike nor all 0 or 1."""
    torch.manual_seed(seed)
    network = case.build(case.n_classes)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and len(module.weight) == case.n_classes:
            nn.init.normal_(module.weight, std=2.5 / math.sqrt(module.weight[0].numel()))  # logits of -5 to 5
    for name, value in network.named_parameters():
        if name.endswith("head_weight"):
            nn.init.uniform_(value, 0.1, 0.35)
        elif not norms:  # nothing else keeps a transformer's tokens from being nearly all alike
            value.data += 0.04 * torch.randn_like(value)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
        norm.momentum = 1.0  # keeps the statistics of the next batch alone
    if norms:
        with torch.no_grad():
            network.train()(case.features(sounds(4.1))[:, :1056])
    return network.eval()


def write_file(case: Published, network: nn.Module, path: Path) -> None:
    """Write the network's weights as its authors do."""
    state = network.state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}  # as DataParallel names them
    torch.save({"model": state} if case.whole else parallel, path)


def load_ours(case: Published, network: nn.Module, cut: bool) -> Tagger:
    """Return our tagger of the network's file."""
    with tempfile.TemporaryDirectory() as folder:
        write_file(case, network, Path(folder) / "published.pth")
        return load_published(Path(folder) / "published.pth", cut=cut)


@dataclass(frozen=True)
class Apart:
    """Largest differences of a score between theirs and ours."""

    same_features: float  # both networks on their features
    centred: float  # each on its own front end's, the clips' mean removed beforehand, as their fbank programs begin
    waveforms: float  # each on its own front end's
    float32: float  # theirs from theirs with the front end in float64
    uncut: float  # as `waveforms`, but ours scores all of a clip, as it does by default
    sounds: float  # theirs of one sound from theirs of another


@torch.no_grad()
def apart(case: Published, seconds: Iterable[float], recordings: Sequence[Tensor] = ()) -> list[Apart]:
    """Compare a network with our taggers of its file at several lengths."""
    network, found = random_network(case), []
    by_default = load_ours(case, network, cut=False)
    cut = by_default if case.whole else load_ours(case, network, cut=True)
    for waveforms in (sounds(length, recordings) for length in seconds):
        features = case.features(waveforms)
        theirs, centred = network(features), waveforms if case.whole else less_their_mean(waveforms)
        longer = by_default.features(waveforms).shape[1] > features.shape[1]
        ours = (cut if longer else by_default)(waveforms)
        found.append(
            Apart(
                same_features=largest(by_default.from_features(features) - theirs),
                centred=largest(cut(centred) - theirs),
                waveforms=largest(ours - theirs),
                float32=largest(network(case.features(waveforms.double()).float()) - theirs),
                uncut=largest((by_default(waveforms) if longer else ours) - theirs),
                sounds=largest(theirs[0] - theirs[1]),
            )
        )
    return found


def less_their_mean(waveforms: Tensor) -> Tensor:
    """(B, T) to the same, clip by clip as `fbank` does it: a batch's means are summed in another order."""
    return torch.stack([waveform - waveform.mean() for waveform in waveforms])


def largest(difference: Tensor) -> float:
    """The largest magnitude."""
    return float(difference.abs().max())


def table(names: Iterable[str], recordings: Sequence[Tensor] = ()) -> Iterator[str]:
    """Yield the lines of the Markdown table of the networks at all lengths."""
    lengths = [f"{seconds:g} s" for seconds in SECONDS]
    yield as_row("network", "front end", *lengths, "float32", f"{lengths[-1]} uncut", "sounds")
    yield as_row(*["---"] * (len(lengths) + 5))
    for case in (PUBLISHED[name] for name in names):
        found = apart(case, SECONDS, recordings)
        cells = [f"{one.same_features:.0e} / {one.centred:.0e} / {one.waveforms:.0e}" for one in found]
        float32, last = f"{max(one.float32 for one in found):.0e}", found[-1]
        yield as_row(case.name, case.front_end, *cells, float32, f"{last.uncut:.0e}", f"{last.sounds:.2f}")


def as_row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


FRONT_ENDS = {"fbank": (psla_features, PSLA_FRONT_END), "decibels": (psl_features, PSL_FRONT_END)}


@torch.no_grad()
def features_apart(name: str, waveforms: Tensor) -> list[tuple[float, float, float, float]]:
    """Return, for each clip, the largest difference of a feature.

    Ours from theirs where the mean was removed; ours from theirs; theirs from theirs in float64; ours from that.
    """
    features, options = FRONT_ENDS[name]
    front_end = build_frontend(options)
    found = []
    for waveform in waveforms.split(1):
        ours = front_end(waveform)
        theirs, exact = (features(one)[:, : ours.shape[1]] for one in (waveform, waveform.double()))
        centred = front_end(less_their_mean(waveform) if name == "fbank" else waveform)
        found.append(
            (largest(centred - theirs), largest(ours - theirs), largest(theirs - exact), largest(ours - exact))
        )
    return found


def feature_table(recordings: Sequence[Tensor] = ()) -> Iterator[str]:
    """Yield the lines of the Markdown table of the front ends at 10 s."""
    yield as_row("front end", "sound", "mean removed", "as it is", "theirs from float64", "ours from float64")
    yield as_row(*["---"] * 6)
    for name in FRONT_ENDS:
        for number, found in enumerate(features_apart(name, sounds(10.0, recordings))):
            sound = ("rising tone", "bursts", f"recording {number - 1}")[min(number, 2)]
            yield as_row(name, sound, *(f"{one:.0e}" for one in found))


@torch.no_grad()
def neighbours(seconds: float = 2.0) -> tuple[float, float]:
    """Return by how much PSL's scores of a clip change beside a louder one, and filled with zeros to a longer one."""
    network = random_network(PUBLISHED["PSL MobileNetV2"])
    loud, bursts = sounds(seconds)
    faint, short = 0.01 * bursts, bursts[: round(0.8 * len(bursts))]
    filled = F.pad(short, (0, len(bursts) - len(short)))
    beside = network(decibels(torch.stack([faint, loud])))[:1] - network(decibels(faint[None]))
    return largest(beside), largest(network(decibels(filled[None])) - network(decibels(short[None])))


def main() -> None:
    """Print the tables."""
    import soundfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path, help="16 kHz, one channel")
    args = parser.parse_args()
    recordings = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in args.recordings]
    print(LEGEND)
    for line in table(PUBLISHED, recordings):
        print(line, flush=True)
    print("\nLargest difference of a feature at 10 s, fbank in standard deviations, the other in decibels:\n")
    print(*feature_table(recordings), sep="\n")
    louder, longer = neighbours()
    print(f"\nPSL's scores of a 2 s clip, from those of it alone, which are ours: beside a louder clip {louder:.2f},")
    print(f"filled with zeros from 1.6 s {longer:.2f}.")


if __name__ == "__main__":
    main()
