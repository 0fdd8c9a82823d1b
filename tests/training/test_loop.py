"""The training loop: it learns, its draws follow from the seed alone, and it goes on where it was killed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from pseudolabel.audio.augment import AugmentOptions
from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.models.tagger import build_tagger
from pseudolabel.scores.metrics import average_precision
from pseudolabel.scores.store import ScoreStore
from pseudolabel.training.dataset import clip_examples, window_examples
from pseudolabel.training.loop import Trainer, TrainOptions, Validation
from pseudolabel.training.losses import soft_bce
from pseudolabel.training.schedule import Schedule
from pseudolabel.training.scoring import score_clips

CLASSES = ["low", "middle", "high"]
LABELS = sparse.csr_array(np.tile(np.eye(3, dtype=bool), (4, 1)))
RATE = 16_000
QUICK = {"epochs": 30, "batch_size": 6, "learning_rate": 0.01, "betas": (0.8, 0.99)}  # learns within seconds
ALL_ON = AugmentOptions(mixup_rate=0.5, gain_db=3.0, time_mask_s=0.4, mel_mask=8)


@pytest.fixture(scope="module")
def clips(write_tones, tmp_path_factory) -> ClipStore:
    return ClipStore.open(write_tones(tmp_path_factory.mktemp("tones"), [2.0] * 12) / "clips.h5")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def new_trainer(clips, folder, examples=None, validation=None, dropout=0.0, **options) -> Trainer:
    torch.manual_seed(0)
    config = {"name": "mobilenetv2", "class_ids": CLASSES, "front_end": {"hop": 640},
              "options": {"width": 0.1, "last_channels": 64, "input_norm": "batch", "dropout": dropout}}  # fmt: skip
    examples = examples or clip_examples(clips, np.arange(12), LABELS, 2 * RATE)
    options = TrainOptions(**{"epochs": 4, "batch_size": 4, "learning_rate": 5e-3, **options})
    return Trainer(build_tagger(config), examples, options, torch.device("cpu"), folder, validation)


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.tagger.state_dict().items()}


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def without_clock(history: list[dict]) -> list[dict]:
    clock = ("seconds", "pieces_per_s", "waiting_share")
    return [{name: value for name, value in row.items() if name not in clock} for row in history]


def test_hard_labels_of_separable_tones_are_learned(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, **QUICK)
    tagger = trainer.run()
    losses = [row["loss"] for row in trainer.history]
    assert len(losses) == 30 and losses[-1] < 0.8 * losses[0]  # of six seeds the slowest ends at .76
    scores = score_clips(tagger, clips, np.arange(12))[:, 0]
    assert average_precision(LABELS, scores).mean() > 0.9
    assert not tagger.training


def test_soft_targets_of_windows_are_learned(clips, tmp_path):
    """Each clip's two windows have different targets: .9 of its own class in the first, .7 in the second."""
    targets = LABELS.toarray()[:, None, :] * np.array([0.9, 0.7])[None, :, None]
    ScoreStore.write(tmp_path / "scores.h5", clips.clip_ids, CLASSES, {1: targets})
    scores, rows = ScoreStore.open(tmp_path / "scores.h5"), np.arange(12)
    examples = window_examples(clips, rows, scores, rows, np.arange(3), 1, RATE, LABELS)
    assert len(examples) == 24
    trainer = new_trainer(clips, tmp_path, examples, **QUICK)
    answers = score_clips(trainer.run(), clips, rows)[:, 0]
    assert average_precision(LABELS, answers).mean() > 0.9
    # Both windows sound alike, so the best answer is .8 and 0, 0; its cross-entropy is .167.
    assert 0.14 < trainer.history[-1]["loss"] < 0.35 < trainer.history[0]["loss"]


def test_same_seed_same_weights_other_seed_other_weights(clips, tmp_path):
    runs = [new_trainer(clips, tmp_path / str(i), seed=seed, epochs=2, augment=ALL_ON, dropout=0.3)
            for i, seed in enumerate((1, 1, 2))]  # fmt: skip
    weights = [trainer.run() and weights_of(trainer) for trainer in runs]
    assert same(weights[0], weights[1]) and not same(weights[0], weights[2])
    assert without_clock(runs[0].history) == without_clock(runs[1].history)


def test_masks_hold_the_fill_of_the_config(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, augment=AugmentOptions(mel_mask=64))
    waveforms = torch.randn(8, RATE) * 0.1
    features, _ = trainer._augmented(waveforms, torch.zeros(8, 3), np.random.default_rng(0))
    plain = trainer.tagger.features(waveforms)
    assert 0 < (features != plain).float().mean() < 1
    assert set(features[features != plain].tolist()) == {trainer.tagger.config["fill"]}


class Killed(Exception):
    """What stands for the end of the process."""


def kill_at(monkeypatch, trainer: Trainer, place: str) -> None:
    """Let the third epoch of a run end at a place."""
    whole = getattr(trainer, place)

    def killed(*args):
        if trainer.epoch >= 2 and not (place == "_step" and args[0] == 0):
            raise Killed
        return whole(*args)

    monkeypatch.setattr(trainer, place, killed)


@pytest.mark.parametrize("place", ["_step", "_validate", "_save"])
def test_killed_run_goes_on_to_the_same_weights(clips, tmp_path, monkeypatch, place, capsys):
    options = {"epochs": 5, "augment": ALL_ON, "select": "best", "schedule": Schedule("cosine", warmup_steps=4),
               "dropout": 0.3}  # fmt: skip
    validation = Validation(clips, np.arange(12), LABELS.toarray())
    straight = new_trainer(clips, tmp_path / "straight", validation=validation, **options)
    straight.run()
    killed = new_trainer(clips, tmp_path / "killed", validation=validation, **options)
    kill_at(monkeypatch, killed, place)
    with pytest.raises(Killed):
        killed.run()
    again = new_trainer(clips, tmp_path / "killed", validation=validation, **options)
    again.run()
    assert "resumed after epoch" in capsys.readouterr().out
    assert same(weights_of(straight), weights_of(again))
    assert without_clock(straight.history) == without_clock(again.history)
    assert straight.best == again.best
    lines = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("straight", "killed")]
    assert [line.split(",")[:5] for line in lines[0]] == [line.split(",")[:5] for line in lines[1]]
    assert lines[0][0].startswith("epoch,step,loss,learning_rate,validation_map,seconds") and len(lines[0]) == 6


def test_damaged_last_checkpoint_costs_one_epoch_and_changes_nothing(clips, tmp_path):
    straight = new_trainer(clips, tmp_path)
    straight.run()
    last = sorted((tmp_path / "checkpoints").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:1000])
    again = new_trainer(clips, tmp_path)
    again.run()
    assert len(again.history) == 4 and same(weights_of(straight), weights_of(again))


def test_unfinished_run_with_other_options_is_refused(clips, tmp_path):
    new_trainer(clips, tmp_path, epochs=1).run()
    with pytest.raises(InputError, match=r"other augment\.mixup_rate, batch_size, epochs lies here"):
        new_trainer(clips, tmp_path, epochs=2, batch_size=3, augment=AugmentOptions(0.5)).run()


def test_last_incomplete_batch_is_left_out_but_never_the_only_one(clips, tmp_path):
    assert new_trainer(clips, tmp_path / "a", batch_size=5).steps_per_epoch == 2
    few = new_trainer(clips, tmp_path / "b", batch_size=100, epochs=1)
    few.run()
    assert few.steps_per_epoch == len(few.history) == 1


class Scripted(Validation):
    """A validation whose results are given."""

    def __init__(self, results):
        self.results = list(results)

    def mean_average_precision(self, *_):
        return self.results.pop(0)


def test_best_epoch_is_kept_on_request(clips, tmp_path):
    reached = [0.2, 0.5, 0.5, 0.4]
    best = new_trainer(clips, tmp_path / "best", validation=Scripted(reached), select="best")
    best.run()
    assert best.best == (0.5, 2)  # the first of equals
    two = new_trainer(clips, tmp_path / "two", schedule=Schedule("constant"), epochs=2)
    constant = {"schedule": Schedule("constant")}
    selected = new_trainer(clips, tmp_path / "sel", validation=Scripted(reached), select="best", **constant)
    two.run(), selected.run()
    assert same(weights_of(two), weights_of(selected))  # four epochs were trained, those of the second are kept


def test_patience_ends_a_run_that_no_longer_gains(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, validation=Scripted([0.3, 0.2, 0.3, 0.9]), patience=2)
    trainer.run()
    assert trainer.epoch == 3 and trainer.best == (0.3, 1)


def test_patience_without_validation_ends_nothing(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, patience=1)
    trainer.run()
    assert trainer.epoch == 4


def test_learning_rate_follows_the_schedule(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, learning_rate=1.0, schedule=Schedule("cosine", warmup_steps=2))
    rates = []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: (rates.append(trainer.optimizer.param_groups[0]["lr"]), step())[1]
    trainer.optimizer.param_groups[0]["params"] = []  # the rates are looked at, not used
    trainer.run()
    assert rates == pytest.approx([trainer.options.schedule.factor(step, 12) for step in range(12)])


def test_no_gradient_of_a_large_loss_passes_the_clip(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, clip_gradient=1e-3)
    waveforms, targets = (torch.from_numpy(array) for array in trainer.examples.batch(np.arange(4), 0, 0))
    trainer.tagger.train()
    trainer._step(0, waveforms, targets)
    norm = torch.stack([p.grad.norm() for p in trainer.tagger.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)


def test_soft_bce_by_hand():
    scores, targets = torch.tensor([[0.5, 0.8]]), torch.tensor([[1.0, 0.25]])
    expected = -(np.log(0.5) + 0.25 * np.log(0.8) + 0.75 * np.log(0.2)) / 2
    assert float(soft_bce(scores, targets)) == pytest.approx(expected, rel=1e-6)
    assert soft_bce(scores.bfloat16(), targets.double()).dtype == torch.float32
