"""Training examples: each piece with its own target, in an order that seed and epoch decide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import window_name
from pseudolabel.scores.writing import ScoreLayout, write_scores
from pseudolabel.training import dataset
from pseudolabel.training.dataset import SoftTargets, clip_examples, window_examples

RATE = 1000
SECONDS = [4.0, 2.0, 3.4, 0.7, 5.2, 2.9]  # windows of 2 s: 2, 1, 2, 1, 3, 1


@pytest.fixture(scope="module")
def clips(write_tones, tmp_path_factory) -> ClipStore:
    return ClipStore.open(write_tones(tmp_path_factory.mktemp("tones"), SECONDS, RATE) / "clips.h5")


@pytest.fixture(scope="module")
def scores(clips, tmp_path_factory) -> ScoreStore:
    """Scores of the clips in reverse order, with a clip and a class too many; windows that are not real are 0."""
    path = tmp_path_factory.mktemp("scores") / "scores.h5"
    clip_ids, n_windows = [*clips.clip_ids[::-1], "other"], np.array([1, 3, 1, 2, 1, 2, 1])
    rng = np.random.default_rng(0)
    windows = rng.uniform(0.1, 0.9, (7, 3, 4)) * (np.arange(3)[None, :, None] < n_windows[:, None, None])
    arrays = {"clip": rng.uniform(0.1, 0.9, (7, 4)), "2s": windows}
    shapes = {name: array.shape for name, array in arrays.items()}
    layout = ScoreLayout(clip_ids, ["high", "extra", "low", "middle"], shapes, {"2s": n_windows})
    write_scores(path, layout, iter([arrays]))
    return ScoreStore.open(path)


LABELS = sparse.csr_array(np.eye(3, dtype=bool)[[0, 1, 2, 0, 1, 2]])


def examples_of_windows(clips, scores, window_s="clip", alpha=1.0, rows=range(6), length=2 * RATE):
    rows = np.array(rows)
    columns = scores.columns(("low", "middle", "high"))
    soft = SoftTargets(scores, scores.rows([clips.clip_ids[row] for row in rows]), columns, window_s, alpha)
    return window_examples(clips, rows, LABELS[rows], length, soft)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("rows", [range(6), [4, 0, 2]])
def test_each_window_has_the_audio_and_the_target_of_its_own_time(clips, scores, alpha, rows):
    examples = examples_of_windows(clips, scores, 2, alpha, rows)
    waveforms, targets, _ = examples.batch(np.arange(len(examples)))
    expected_waveforms, expected_targets, cut = [], [], []
    for row in rows:
        clip_id, samples = clips.clip_ids[row], clips.read(clips.clip_ids[row])
        in_store = scores.clip_ids.index(clip_id)
        window = 0
        while window == 0 or len(samples) - window * 2 * RATE >= RATE:  # a rest under half a window is not one
            piece = samples[window * 2 * RATE : (window + 1) * 2 * RATE]
            expected_waveforms.append(np.pad(piece, (0, 2 * RATE - len(piece))))
            cut.append(len(samples) - (window + 1) * 2 * RATE in range(1, RATE))  # the rest belongs to this window
            soft = [scores.scores(2)[in_store, window, scores.class_ids.index(c)] for c in ("low", "middle", "high")]
            hard = np.eye(3)[row % 3]
            expected_targets.append(alpha * np.array(soft, np.float64) + (1 - alpha) * hard)
            window += 1
    assert len(examples) == len(expected_targets)
    cut = np.array(cut)
    assert np.array_equal(waveforms[~cut], np.array(expected_waveforms)[~cut]) and cut.sum() == (5 in rows)
    assert waveforms.dtype == targets.dtype == np.float32
    assert np.allclose(targets, expected_targets, atol=1e-6)
    if alpha > 0:
        assert (targets > 0).all()  # no window that is not real


def test_batches_take_pieces_in_the_order_asked_for(clips, scores):
    examples = examples_of_windows(clips, scores, 2)
    waveforms, targets, _ = examples.batch(np.arange(len(examples)))
    some = np.array([7, 0, 3, 3])
    assert np.array_equal(examples.batch(some)[0], waveforms[some])
    assert np.array_equal(examples.batch(some)[1], targets[some])


def test_whole_clips_carry_the_whole_clips_scores(clips, scores):
    examples = examples_of_windows(clips, scores, length=6 * RATE)
    assert len(examples) == 6
    waveforms, targets, _ = examples.batch(np.array([2]))
    assert np.array_equal(waveforms[0, :3400], clips.read("t02")) and not waveforms[0, 3400:].any()
    expected = scores.clip_scores()[scores.clip_ids.index("t02")][[2, 3, 0]]
    assert np.array_equal(targets[0], expected.astype(np.float32))


def test_windows_that_were_never_scored_are_refused(clips, scores, tmp_path):
    constant_scores(tmp_path / "short.h5", clips, 2, [2, 1, 2, 1, 2, 1])
    with pytest.raises(InputError, match=r"short\.h5: clip 't04' has 3 windows of 2s, its scores 2"):
        examples_of_windows(clips, ScoreStore.open(tmp_path / "short.h5"), 2)


@pytest.mark.parametrize(("n_windows", "refused"), [(1, True), (2, False), (3, False), (4, True), (9, True)])
def test_scores_of_windows_that_a_clip_does_not_have_are_refused(write_tones, tmp_path, n_windows, refused):
    """A clip of 4.5 s has two windows of 2 s; one that begins at 4 s may be its rest, one at 6 s is of another clip."""
    clips = ClipStore.open(write_tones(tmp_path, [4.5], RATE) / "clips.h5")
    scores = constant_scores(tmp_path / "s.h5", clips, 2, n_windows)
    if refused:
        with pytest.raises(InputError, match=r"s\.h5: clip 't00' (of 4\.5 s )?has .*windows of 2s"):
            examples_of_windows(clips, scores, 2, rows=[0])
    else:
        assert len(examples_of_windows(clips, scores, 2, rows=[0])) == 2


def test_windows_that_overlap_are_cut_where_they_begin(write_tones, tmp_path):
    """Nine windows of 2 s, one every second, of a clip of 10 s; of one of 3.5 s three, the last of them cut short."""
    clips = ClipStore.open(write_tones(tmp_path, [10.0, 3.5], RATE) / "clips.h5")
    targets = np.zeros((2, 9, 3), np.float16)
    targets[:, :, 0] = (np.arange(9) + 1) / 16  # the target says which window it is
    counts, blocks = {"2s": np.array([9, 3])}, iter([{"2s": targets}])
    classes = ["low", "middle", "high"]
    write_scores(
        tmp_path / "s.h5", ScoreLayout(clips.clip_ids, classes, {"2s": (2, 9, 3)}, counts, {"2s": 1.0}), blocks
    )
    examples = examples_of_windows(clips, ScoreStore.open(tmp_path / "s.h5"), 2, rows=[1, 0])
    assert len(examples) == 12 and not examples.slack.any()
    waveforms, soft, _ = examples.batch(np.arange(12), np.full(12, 0.999))
    for piece, (row, window) in enumerate([(1, w) for w in range(3)] + [(0, w) for w in range(9)]):
        cut = clips.read(clips.clip_ids[row])[window * RATE : (window + 2) * RATE]
        assert np.array_equal(waveforms[piece], np.pad(cut, (0, 2 * RATE - len(cut))))
        assert soft[piece, 0] == (window + 1) / 16


def test_overlapping_windows_without_their_hop_are_refused(write_tones, tmp_path):
    clips = ClipStore.open(write_tones(tmp_path, [10.0], RATE) / "clips.h5")
    with pytest.raises(InputError, match=r"clip 't00' of 10 s has 9 windows of 2s, the last from 16 s on"):
        examples_of_windows(clips, constant_scores(tmp_path / "s.h5", clips, 2, 9), 2, rows=[0])


@pytest.mark.parametrize(("n_windows", "seconds"), [(2, [2, 2]), (3, [2, 2, 0.5])])
def test_windows_of_another_model_are_all_cut_where_they_begin(write_tones, tmp_path, n_windows, seconds):
    """A clip of 4.5 s, of which another model answered whole windows alone, or its last half second too."""
    clips = ClipStore.open(write_tones(tmp_path, [4.5], RATE) / "clips.h5")
    scores = constant_scores(tmp_path / "s.h5", clips, 2, n_windows, {"imported_sha256": "a"})
    examples = examples_of_windows(clips, scores, 2, rows=[0])
    waveforms, _, _ = examples.batch(np.arange(len(examples)), 0.999)
    assert len(waveforms) == n_windows
    for window, (waveform, length_s) in enumerate(zip(waveforms, seconds, strict=True)):
        heard = clips.read("t00")[window * 2 * RATE :][: round(length_s * RATE)]
        assert np.array_equal(waveform, np.pad(heard, (0, 2 * RATE - len(heard))))


def test_scale_that_is_not_in_the_store_is_refused(clips, scores):
    with pytest.raises(InputError, match=r"scale '5s' is not there; there are: "):
        examples_of_windows(clips, scores, 5, length=5 * RATE)


@pytest.fixture(scope="module")
def joined(write_tones, tmp_path_factory) -> ClipStore:
    """Windows of 2 s: five, the last with 0.9 s more; six, the last 1.2 s; five of 2 s; one with 0.9 s more."""
    return ClipStore.open(write_tones(tmp_path_factory.mktemp("joined"), [10.9, 11.2, 10.0, 2.9], RATE) / "clips.h5")


def constant_scores(path, clips: ClipStore, window_s, n_windows, attributes=None) -> ScoreStore:
    """Scores of .5; `n_windows` of every clip, or (N,) of each."""
    n_windows = np.broadcast_to(n_windows, len(clips))
    scale = window_name(window_s)
    shape = (len(clips), 3) if scale == "clip" else (len(clips), n_windows.max(), 3)
    counts = {} if scale == "clip" else {scale: n_windows}
    blocks = iter([{scale: np.full(shape, 0.5)}])
    layout = ScoreLayout(clips.clip_ids, ["low", "middle", "high"], {scale: shape}, counts)
    write_scores(path, layout, blocks, attributes)
    return ScoreStore.open(path)


def test_last_window_that_is_too_long_is_cut_anywhere_within_its_bounds_and_no_other_moves(joined, tmp_path):
    examples = examples_of_windows(
        joined, constant_scores(tmp_path / "s.h5", joined, 2, [5, 6, 5, 1]), 2, rows=range(4)
    )
    clip_of, window_of = np.repeat([0, 1, 2, 3], [5, 6, 5, 1]), [*range(5), *range(6), *range(5), 0]
    pieces = np.arange(17)
    assert len(examples) == 17
    starts = {4: set(), 16: set()}
    for epoch in range(30):
        within = np.random.default_rng(epoch).random(17)
        waveforms, _, _ = examples.batch(pieces, within)
        assert np.array_equal(waveforms, examples.batch(pieces, within)[0])
        for piece, (row, window) in enumerate(zip(clip_of, window_of, strict=True)):
            samples, first = joined.read(joined.clip_ids[row]), window * 2 * RATE
            if piece in starts:
                found = [at for at in range(first, len(samples) - 1999)
                         if np.array_equal(samples[at : at + 2000], waveforms[piece])]  # fmt: skip
                assert len(found) == 1
                starts[piece].add(found[0] - first)
            else:
                whole = samples[first : first + 2 * RATE]
                assert np.array_equal(waveforms[piece], np.pad(whole, (0, 2 * RATE - len(whole))))
    for found in starts.values():
        assert len(found) > 10 and min(found) < 200 and max(found) > 700


@pytest.mark.parametrize(("window_s", "n_windows"), [("clip", 1), (10, 1), (5, 2), (2, 5)])
def test_nothing_moves_where_windows_fill_the_clip(joined, tmp_path, window_s, n_windows):
    length = (10 if window_s == "clip" else window_s) * RATE
    scores = constant_scores(tmp_path / "s.h5", joined, window_s, n_windows)
    examples = examples_of_windows(joined, scores, window_s, rows=[2], length=length)
    waveforms, _, _ = examples.batch(np.arange(n_windows), np.full(n_windows, 0.999))
    assert np.array_equal(waveforms, joined.read("t02").reshape(n_windows, length))


def with_scores(path, clips: ClipStore, changed: tuple[int, int, int], value: float) -> ScoreStore:
    """Scores of .5 at 2 s for clips in reverse order, one of them changed, and a class that is not used."""
    n_windows = np.array([1, 3, 1, 2, 1, 2])  # of the reversed clips
    array = np.where(np.arange(3)[None, :, None] < n_windows[:, None, None], 0.5, 0.0) * np.ones(4)
    array[changed] = value
    classes = ["high", "extra", "low", "middle"]
    layout = ScoreLayout(clips.clip_ids[::-1], classes, {"2s": array.shape}, {"2s": n_windows})
    write_scores(path, layout, iter([{"2s": array}]))
    return ScoreStore.open(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 1.01, 4.5])
@pytest.mark.parametrize("at_once", [1, 1 << 22])
def test_soft_targets_that_are_no_probabilities_are_refused(clips, tmp_path, monkeypatch, value, at_once):
    monkeypatch.setattr(dataset, "CHECKED_AT_ONCE", at_once)
    scores = with_scores(tmp_path / "logits.h5", clips, (1, 2, 2), value)
    said = (
        rf"logits\.h5: clip 't04' has the soft target {np.float16(value):g}\d* for class 'low' at scale 2s; .* logits"
    )
    with pytest.raises(InputError, match=said):
        examples_of_windows(clips, scores, 2)


@pytest.mark.parametrize("changed", [(1, 2, 1), (0, 1, 2), (3, 0, 2)])  # class, window, clip that is not used
def test_only_scores_that_are_used_are_checked(clips, tmp_path, changed):
    scores = with_scores(tmp_path / "s.h5", clips, changed, np.nan)
    examples = examples_of_windows(clips, scores, 2, rows=[4, 0, 5])
    assert (examples.batch(np.arange(len(examples)))[1] == 0.5).all()


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0])
def test_bounds_themselves_are_soft_targets(clips, tmp_path, value):
    assert len(examples_of_windows(clips, with_scores(tmp_path / "s.h5", clips, (1, 2, 2), value), 2)) == 10


@pytest.mark.parametrize("soft", [False, True])
def test_long_clips_are_cut_anywhere_and_short_ones_padded(clips, scores, soft):
    hard = clip_examples(clips, np.arange(6), LABELS, 2 * RATE)
    examples = examples_of_windows(clips, scores) if soft else hard
    long, starts = clips.read("t00"), set()
    for epoch in range(20):
        waveforms, _, _ = examples.batch(np.arange(6), np.random.default_rng(epoch).random(6))
        assert np.array_equal(waveforms[3, :700], clips.read("t03")) and not waveforms[3, 700:].any()
        found = [at for at in range(2001) if np.array_equal(long[at : at + 2000], waveforms[0])]
        assert len(found) == 1
        starts.add(found[0])
    assert len(starts) > 10 and min(starts) < 700 and max(starts) > 1300


def test_hard_labels_stand_beside_their_clip(clips):
    rows = np.array([5, 1, 0])
    examples = clip_examples(clips, rows, LABELS[rows], 2 * RATE)
    assert examples.batch(np.array([0, 2]))[1].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_order_depends_on_seed_and_epoch_only(clips):
    examples, again = (clip_examples(clips, np.arange(6), LABELS, RATE) for _ in range(2))
    order = examples.order(3, 5)
    again.order(9, 9), again.batch(np.array([1, 2]))  # what was asked before does not matter
    assert np.array_equal(order, again.order(3, 5))
    assert sorted(order) == list(range(6))
    assert len({tuple(examples.order(seed, epoch)) for seed in range(4) for epoch in range(4)}) > 12


def test_masks_stand_beside_their_clip_and_its_windows(clips, scores):
    mask = sparse.csr_array(np.arange(18).reshape(6, 3) % 4 == 0)
    hard = clip_examples(clips, np.arange(6), LABELS, 2 * RATE, mask=mask)
    assert np.array_equal(hard.batch(np.array([3, 0]))[2], mask.toarray()[[3, 0]])
    assert clip_examples(clips, np.arange(6), LABELS, 2 * RATE).batch(np.array([3]))[2] is None
    rows, columns = scores.rows(clips.clip_ids), scores.columns(["low", "middle", "high"])
    targets = SoftTargets(scores, rows, columns, 2)
    soft = window_examples(clips, np.arange(6), LABELS, 2 * RATE, targets, mask=mask)
    clip = np.repeat(np.arange(6), [2, 1, 2, 1, 3, 1])
    assert np.array_equal(soft.batch(np.arange(10))[2], mask.toarray()[clip])
