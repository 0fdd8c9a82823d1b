"""The training loop: it learns, its draws follow from the seed alone, and it goes on where it was killed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.models.tagger import build_tagger
from pseudolabel.scores.metrics import average_precision
from pseudolabel.scores.store import ScoreStore
from pseudolabel.training import loop
from pseudolabel.training.batches import read_batch
from pseudolabel.training.dataset import SoftTargets, clip_examples, window_examples
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.loop import Trainer
from pseudolabel.training.options import AugmentOptions, SamplingOptions, Schedule, TrainOptions
from pseudolabel.training.scoring import score_clips
from pseudolabel.training.validation import Validation

CLASSES = ["low", "middle", "high"]
LABELS = sparse.csr_array(np.tile(np.eye(3, dtype=bool), (4, 1)))
RATE = 16_000
QUICK = {"epochs": 30, "batch_size": 6, "learning_rate": 0.01, "betas": (0.8, 0.99)}  # learns within seconds
ALL_ON = AugmentOptions(0.5, 10.0, "uniform", gain_db=3.0, shift_s=0.5, time_mask_s=0.4, mel_mask=8)


@pytest.fixture(scope="module")
def clips(write_tones, tmp_path_factory) -> ClipStore:
    return ClipStore.open(write_tones(tmp_path_factory.mktemp("tones"), [2.0] * 12) / "clips.h5")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def new_trainer(clips, folder, examples=None, validation=None, dropout=0.0, every=0, **options) -> Trainer:
    torch.manual_seed(0)
    config = {"name": "mobilenetv2", "class_ids": CLASSES, "front_end": {"hop": 640},
              "options": {"width": 0.1, "last_channels": 64, "input_norm": "batch", "dropout": dropout}}  # fmt: skip
    examples = examples or clip_examples(clips, np.arange(12), LABELS, 2 * RATE)
    options = TrainOptions(**{"epochs": 4, "batch_size": 4, "learning_rate": 5e-3, **options}, checkpoint_every=every)
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
    examples = window_examples(clips, rows, LABELS, RATE, SoftTargets(scores, rows, np.arange(3), 1))
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


class Killed(Exception):
    """What stands for the end of the process."""


def kill_at(monkeypatch, trainer: Trainer, place: str, step: int) -> None:
    """Let a run end at a place, once so many steps are done."""
    whole = getattr(trainer, place)

    def killed(*args):
        if trainer.step >= step:
            raise Killed
        return whole(*args)

    monkeypatch.setattr(trainer, place, killed)


@pytest.mark.parametrize(
    ("place", "step", "every", "evaluate_every"),
    [("_step", 6, 0, 0), ("_step", 8, 2, 0), ("_step", 7, 1, 2), ("_add_row", 9, 0, 0), ("_add_row", 8, 2, 4),
     ("_save", 9, 0, 0), ("_save", 5, 1, 5)],
)  # fmt: skip
def test_killed_run_goes_on_to_the_same_weights(
    clips, tmp_path, monkeypatch, place, step, every, evaluate_every, capsys
):
    schedule = Schedule("cosine", warmup_steps=4)
    options = {"epochs": 5, "augment": ALL_ON, "select": "best", "smooth": 3, "schedule": schedule,
               "dropout": 0.3, "ema": 0.9, "evaluate_every": evaluate_every, "metric": "d-prime"}  # fmt: skip
    validation = Validation(clips, np.arange(12), LABELS.toarray())
    straight = new_trainer(clips, tmp_path / "straight", validation=validation, **options)
    straight.run()
    killed = new_trainer(clips, tmp_path / "killed", validation=validation, every=every, **options)
    kill_at(monkeypatch, killed, place, step)
    with pytest.raises(Killed):
        killed.run()
    again = new_trainer(clips, tmp_path / "killed", validation=validation, every=every, **options)
    again.run()
    assert "resumed after " in capsys.readouterr().out
    assert same(straight.evaluated.state_dict(), again.evaluated.state_dict())
    assert same(weights_of(straight), weights_of(again))
    assert without_clock(straight.history) == without_clock(again.history)
    assert straight.selection.best == again.selection.best
    lines = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("straight", "killed")]
    assert [line.split(",")[:6] for line in lines[0]] == [line.split(",")[:6] for line in lines[1]]
    assert lines[0][0] == ("epoch,step,loss,learning_rate,validation_map,validation_d_prime,seconds,pieces_per_s,"
                           "waiting_share")  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "killed/checkpoints").iterdir()) == [
        "epoch-0004.pt",
        "epoch-0005.pt",
    ]


def test_rows_come_every_so_many_steps_and_at_the_end(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, evaluate_every=5)  # 4 epochs of 3 steps
    trainer.run()
    assert [(row["epoch"], row["step"]) for row in trainer.history] == [(2, 5), (4, 10), (4, 12)]


def test_moving_average_by_hand(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, ema=0.8, epochs=1)
    seen, step = [], trainer.optimizer.step
    name, watched = next(iter(trainer.tagger.named_parameters()))
    trainer.optimizer.step = lambda: (step(), seen.append(watched.detach().clone()))[0]
    kept = trainer.run()
    expected = seen[0]
    for value in seen[1:]:
        expected = 0.8 * expected + 0.2 * value
    assert torch.allclose(kept.state_dict()[name], expected, atol=1e-7)
    assert not torch.allclose(kept.state_dict()[name], seen[-1], atol=1e-5)


@pytest.mark.parametrize("sampling", ["sum-rule", "repeat", "round-robin"])
def test_every_sampling_trains(clips, tmp_path, sampling):
    examples = clip_examples(clips, np.arange(12), LABELS, 2 * RATE, SamplingOptions(sampling))
    trainer = new_trainer(clips, tmp_path, examples, epochs=1)
    trainer.run()
    assert trainer.step == 3


def test_masked_labels_teach_nothing(clips, tmp_path):
    """All labels of the third class are masked: its row of the last layer has no gradient."""
    mask = np.zeros((12, 3), bool)
    mask[:, 2] = True
    examples = clip_examples(clips, np.arange(12), LABELS, 2 * RATE, mask=sparse.csr_array(mask))
    trainer = new_trainer(clips, tmp_path, examples, epochs=1, augment=AugmentOptions(0.5))
    trainer.run()
    last = [parameter for parameter in trainer.tagger.parameters() if parameter.shape[:1] == (3,)]
    assert last and all(not layer.grad[2].any() and layer.grad[:2].any() for layer in last)


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
    with pytest.raises(InputError, match=r"other augment\.mixup_rate, batch_size, epochs is here"):
        new_trainer(clips, tmp_path, epochs=2, batch_size=3, augment=AugmentOptions(0.5)).run()


def test_last_incomplete_batch_is_learnt_from_too(clips, tmp_path, monkeypatch):
    learnt = []
    monkeypatch.setattr(loop, "read_batch", lambda examples, draw, **how: (
        learnt.append(draw.pieces.tolist()), read_batch(examples, draw, **how))[1])  # fmt: skip
    uneven = new_trainer(clips, tmp_path / "a", batch_size=5, epochs=2)
    uneven.run()
    assert [len(pieces) for pieces in learnt] == [5, 5, 2, 5, 5, 2]
    for epoch in (learnt[:3], learnt[3:]):
        assert sorted(piece for pieces in epoch for piece in pieces) == list(range(12))
    assert [row["step"] for row in uneven.history] == [3, 6]
    assert new_trainer(clips, tmp_path / "c", batch_size=11).steps_per_epoch == 1  # one piece has no spread
    few = new_trainer(clips, tmp_path / "b", batch_size=100, epochs=1)
    few.run()
    assert few.steps_per_epoch == len(few.history) == 1


class Scripted(Validation):
    """A validation whose results are given."""

    def __init__(self, results):
        self.results = list(results)

    def metrics(self, *_):
        return {"map": self.results.pop(0), "d-prime": 0.0}


def test_best_epoch_is_kept_on_request(clips, tmp_path):
    reached = [0.2, 0.5, 0.5, 0.4]
    best = new_trainer(clips, tmp_path / "best", validation=Scripted(reached), select="best")
    best.run()
    assert best.selection.best == 1  # the first of equals
    two = new_trainer(clips, tmp_path / "two", schedule=Schedule("constant"), epochs=2)
    constant = {"schedule": Schedule("constant")}
    selected = new_trainer(clips, tmp_path / "sel", validation=Scripted(reached), select="best", **constant)
    two.run(), selected.run()
    assert same(weights_of(two), weights_of(selected))  # four epochs were trained, those of the second are kept


def test_patience_ends_a_run_that_no_longer_gains(clips, tmp_path):
    trainer = new_trainer(clips, tmp_path, validation=Scripted([0.3, 0.2, 0.3, 0.9]), patience=2)
    trainer.run()
    assert trainer.epoch == 3 and trainer.selection.best == 0


def test_a_run_that_patience_ended_is_at_its_end_when_it_is_run_again(clips, tmp_path):
    options = {"patience": 1, "evaluate_every": 2}
    first = new_trainer(clips, tmp_path, validation=Scripted([0.3, 0.2]), **options)
    first.run()
    again = new_trainer(clips, tmp_path, validation=Scripted([]), **options)
    again.run()
    assert first.step == again.step == 4 and same(weights_of(first), weights_of(again))


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
    trainer = new_trainer(clips, tmp_path, clip_gradient=1e-3, epochs=1)
    trainer.run()
    norm = torch.stack([p.grad.norm() for p in trainer.tagger.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)


def test_options_that_change_how_it_is_computed_alone_change_little(clips, tmp_path):
    plain = new_trainer(clips, tmp_path / "plain", epochs=1)
    other = new_trainer(clips, tmp_path / "other", epochs=1, channels_last=True)
    weights = [weights_of(trainer) for trainer in (plain, other) if trainer.run()]
    assert all(torch.allclose(value, weights[1][name], atol=1e-4) for name, value in weights[0].items())
    assert plain.history[0]["loss"] == pytest.approx(other.history[0]["loss"], abs=1e-5)


def test_a_batch_that_processes_cannot_share_evenly_is_refused(clips, tmp_path):
    with pytest.raises(InputError, match="4 pieces a step cannot be shared evenly by 3 processes"):
        Trainer(build_tagger({"name": "mobilenetv2", "class_ids": CLASSES, "options": {"width": 0.1}}),
                clip_examples(clips, np.arange(12), LABELS, RATE), TrainOptions(batch_size=4), torch.device("cpu"),
                tmp_path, ranks=Ranks(0, 3))  # fmt: skip
