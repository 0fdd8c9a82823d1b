"""Our answers with published weights beside those of the published programs, written slowly in as_published.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import as_published as published
import pytest
import soundfile
import torch

from pseudolabel import prepare, score, train
from pseudolabel.scores.store import ScoreStore

ALWAYS = {  # lengths of the default suite: of each kind of network some, of each kind of front end all
    "PSLA B2, 4 heads": (12.0,),
    "PSLA B0, 1 head": (10.0,),
    "PSLA ResNet-50, 1 head": (3.7,),
    "PSLA MBNet": published.SECONDS,
    "PSLA FSD50K, B2, 4 heads": (5.0,),
    "AST tiny, stride 10": (3.7,),
    "AST tiny, stride 16": (2.0, 12.0),
    "PSL MobileNetV2": published.SECONDS,
}
SAME = 1e-5  # of equal features and weights: float32 sums in another order
SAME_OF = {  # where that moves scores further
    "PSLA ResNet-50, 1 head": 3e-5,  # 4e-7 of equal features, which differ by 2e-7
    "PSLA MBNet": 2e-5,
    "PSL MobileNetV2": 2e-5,
}
UNALIKE = 0.02  # what two sounds are apart at least, or nothing would be compared


def same_of(name: str) -> float:
    return SAME_OF.get(name) or SAME_OF.get(name.partition(" ")[0], SAME)


def check(name: str, seconds: Sequence[float], recordings: Sequence[torch.Tensor] = ()) -> None:
    """Compare ours with theirs; what their removal of a clip's mean rounds is no more than what float32 does."""
    case = published.PUBLISHED[name]
    same = same_of(name)
    for length, found in zip(seconds, published.apart(case, seconds, recordings), strict=True):
        assert found.same_features <= min(same, 2e-5)
        assert found.centred <= same
        assert found.waveforms <= max(same, 2 * found.float32)
        assert found.sounds >= UNALIKE
        beyond = length > 10.6 and case.front_end not in ("decibels", "fbank 3000")
        assert (found.uncut >= UNALIKE) if beyond else (found.uncut == found.waveforms)


@pytest.mark.parametrize("name", ALWAYS)
def test_published_weights_answer_as_their_programs_do(name):
    check(name, ALWAYS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", published.PUBLISHED)
def test_published_weights_answer_as_their_programs_do_at_every_length(name):
    check(name, published.SECONDS)


@pytest.fixture(scope="module")
def recordings(shared_data) -> list[torch.Tensor]:
    """Recordings of 10 s and more at 16 kHz."""
    paths = sorted((shared_data / "misc").glob("*.flac"))
    clips = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths]
    clips = [clip for clip in clips if len(clip) >= 10 * published.RATE]
    if not clips:
        pytest.skip("no recordings of 10 s")
    return clips


@pytest.mark.parametrize("name", ["PSLA MBNet", "AST tiny, stride 16", "PSL MobileNetV2"])
def test_published_weights_answer_as_their_programs_do_on_real_recordings(recordings, name):
    check(name, (10.0,), recordings[:2])


@pytest.mark.parametrize(("name", "tolerance"), [("fbank", 1e-6), ("decibels", 2e-5)])
def test_features_are_those_of_the_programs_but_for_the_rounding_of_a_mean(recordings, name, tolerance):
    for centred, apart, theirs_exact, ours_exact in published.features_apart(name, published.sounds(10.0, recordings)):
        assert centred <= tolerance
        assert apart <= max(tolerance, 2 * theirs_exact) and ours_exact <= max(tolerance, 2 * theirs_exact)


def test_psl_s_answers_depend_on_the_batch_and_ours_do_not():
    louder, longer = published.neighbours()
    assert min(louder, longer) >= UNALIKE
    case = published.PUBLISHED["PSL MobileNetV2"]
    network = published.random_network(case)
    batch = published.sounds(2.0) * torch.tensor([[1.0], [0.01]])
    with torch.no_grad():
        found = published.load_ours(case, network, cut=False)(batch)
        assert published.largest(found - network(case.features(batch))) <= 2 * SAME


def write_sounds(folder: Path) -> dict[str, torch.Tensor]:
    """Write 16-bit recordings of unequal length, whose last 2 s are half a window or more; return them by id."""
    folder.mkdir()
    clips = {}
    for seconds in (3.7, 0.8, 12.0):
        for number, sound in enumerate(published.sounds(seconds)):
            clip_id, samples = f"s{10 * seconds:.0f}-{number}", (1.9 * sound * 32768).round().clamp(-32768, 32767)
            soundfile.write(folder / f"{clip_id}.wav", samples.short().numpy(), published.RATE, subtype="PCM_16")
            clips[clip_id] = samples / 32768
    return clips


@pytest.mark.usefixtures("same_threads_after")
@pytest.mark.parametrize(
    "name", ["PSLA MBNet", pytest.param("AST tiny, stride 16", marks=pytest.mark.slow), "PSL MobileNetV2"]
)
def test_files_are_scored_as_the_programs_score_them(name, tmp_path):
    """From recordings to a store: whole clips, and windows as if they were clips of their own."""
    case, clips, work = published.PUBLISHED[name], write_sounds(tmp_path / "audio"), ["--work", str(tmp_path)]
    network = published.random_network(case)
    published.write_file(case, network, tmp_path / "published.pth")
    assert prepare.main([*work, "--audio", str(tmp_path / "audio")]) == 0
    cut = [] if case.whole else ["--cut"]
    assert train.main(["import", *work, str(tmp_path / "published.pth"), *cut]) == 0
    assert score.main([*work, "--windows", "clip", "2s", "--store", "float32", "--threads", "1"]) == 0
    store = ScoreStore.open(tmp_path / "scores.h5")
    assert set(store.clip_ids) == set(clips)
    apart, float32 = [], []
    for scale, n_samples in (("clip", 12 * published.RATE), (2, 2 * published.RATE)):
        for clip_id, found in zip(store.clip_ids, torch.tensor(store.scores(scale)), strict=True):
            windows = clips[clip_id].split(n_samples)
            for window, ours in zip(windows, found.reshape(-1, case.n_classes), strict=False):
                with torch.no_grad():
                    theirs = network(case.features(window[None]))[0]
                apart.append(published.largest(ours - theirs))
                if apart[-1] > same_of(name):
                    with torch.no_grad():
                        exact = network(case.features(window[None].double()).float())[0]
                    float32.append(published.largest(exact - theirs))
    assert len(apart) == 2 * 3 + 2 * (2 + 1 + 6)
    assert max(apart) <= max([same_of(name), *(2 * one for one in float32 if not case.whole)])
