"""Sound event detection: frames, filter, events, F1 and PSDS, against loops, hand-made cases, sed_scores_eval."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.labels.events import Spans
from pseudolabel.scores.detection import Counts, event_counts, segment_counts
from pseudolabel.scores.frames import Frames, filter_frames
from pseudolabel.scores.psds import poster_score, psds

HOP = 0.064


def frames_of(seed: int, n: int = 6, t: int = 40, k: int = 3, hop_s: float = 0.25, levels: int = 8) -> Frames:
    """Smooth random scores with ties; clips of several lengths."""
    rng = np.random.default_rng(seed)
    raw = np.cumsum(rng.normal(0, 1, (n, t, k)), axis=1)
    scores = np.round((np.tanh(raw / 3) + 1) / 2 * levels) / levels
    counts = rng.integers(t // 2, t + 1, n)
    return Frames.of(scores, hop_s, counts=counts, lengths_s=counts * hop_s - rng.choice([0, 0.1], n))


def truth_of(seed: int, frames: Frames, n_events: int = 30) -> Spans:
    rng = np.random.default_rng(seed + 1000)
    n, _, k = frames.scores.shape
    rows = []
    for _ in range(n_events):
        clip = int(rng.integers(n))
        onset, length = rng.uniform(0, frames.lengths_s[clip] - 0.5), rng.uniform(0.2, 3)
        rows.append(
            (clip, int(rng.integers(k)), round(onset, 2), round(min(onset + length, frames.lengths_s[clip]), 2))
        )
    return Spans.of(rows)


def rows(spans: Spans) -> list[tuple]:
    return list(zip(*(part.tolist() for part in spans), strict=True))


def as_events(spans: Spans, n: int) -> dict[str, list[tuple]]:
    """The form of sed_scores_eval."""
    events: dict[str, list[tuple]] = {str(clip): [] for clip in range(n)}
    for clip, column, onset, offset in rows(spans):
        events[str(clip)].append((onset, offset, f"k{column}"))
    return events


# ---- frames -----------------------------------------------------------------------------------------------------


def test_a_clip_of_ten_seconds_has_157_frames_of_64_ms_and_the_last_ends_with_the_clip():
    frames = Frames.of(np.zeros((1, 157, 1)), HOP, lengths_s=np.array([10.0]))
    assert frames.counts.tolist() == [157] and frames.lengths_s.tolist() == [10.0]
    assert frames.edges[0, [0, 1, 156, 157]].tolist() == pytest.approx([0, 0.064, 9.984, 10.0])


def test_overlapping_windows_stand_for_the_hop_around_their_middle():
    frames = Frames.of(np.zeros((2, 9, 1)), 0.5, 1.0, counts=np.array([9, 4]), lengths_s=np.array([4.7, 2.5]))
    assert frames.edges[0].tolist() == [0, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.25, 4.7]
    assert frames.edges[1].tolist() == [0, 0.75, 1.25, 1.75] + 6 * [2.5]


@pytest.mark.parametrize(
    ("scores", "how", "message"),
    [
        (
            np.full((1, 3, 1), 1.5),
            {},
            r"s\.h5: clip 'x' has the score 1\.5 in frame 0; it must be in \[0, 1\]\. Scores",
        ),
        (np.full((1, 3, 1), np.nan), {}, "has the score nan in frame 0"),
        (np.zeros((3, 1)), {}, r"must have the shape \(clips, frames, classes\), not \(3, 1\)"),
        (np.zeros((0, 3, 1)), {}, r"must have the shape"),
        (
            np.zeros((1, 3, 1)),
            {"lengths_s": np.array([1.9])},
            r"'x' of 1\.9 s has 3 frames of 1s every 1 s, which cover 3",
        ),
        (
            np.zeros((1, 3, 1)),
            {"lengths_s": np.array([4.5])},
            r"of 4\.5 s has 3 frames .* cover 3 s \(1 such clips\)\. G",
        ),
        (np.zeros((1, 3, 1)), {"lengths_s": np.array([0.0])}, r"lengths of clips must be \(N,\) seconds above 0"),
        (np.zeros((1, 3, 1)), {"counts": np.array([4])}, r"numbers of frames must be \(N,\) within 1 and 3"),
    ],
)
def test_scores_that_are_no_probabilities_and_frames_that_do_not_fit_are_refused(scores, how, message):
    with pytest.raises(InputError, match=message):
        Frames.of(scores, 1.0, clip_ids=["x"] * len(scores), place="s.h5", **how)


def test_what_is_after_the_real_frames_is_ignored():
    scores = np.array([[[0.2], [0.9], [0.9], [np.nan]], [[0.9], [0.9], [0.9], [0.9]]])
    frames = Frames.of(scores, 1.0, counts=np.array([3, 4]))
    assert rows(frames.spans()) == [(0, 0, 1.0, 3.0), (1, 0, 0.0, 4.0)]
    assert frames.filtered(3).scores[0, :3, 0].tolist() == pytest.approx([0.2, 0.9, 0.9])
    assert frames.maxima()[:, 0].tolist() == pytest.approx([0.9, 0.9])


def test_the_filter_of_the_challenge_is_seven_frames():
    assert filter_frames([0.45, 0.0, 0.064, 0.1, 0.13, 1.0], HOP).tolist() == [7, 1, 1, 1, 3, 15]
    with pytest.raises(InputError, match="a median filter of -1 s"):
        filter_frames(-1, HOP)


@pytest.mark.parametrize("seed", range(3))
def test_filter_and_events_equal_a_loop(seed):
    frames, seconds = frames_of(seed), (0.75, 0.0, 1.25)
    filtered, thresholds = frames.filtered(seconds), (0.5, 0.25, 0.75)
    found = []
    for clip, count in enumerate(frames.counts):
        for column, size in enumerate((3, 1, 5)):
            series = frames.scores[clip, :count, column].tolist()
            mirrored = series[::-1] + series + series[::-1]
            middle = [
                sorted(mirrored[count + t - size // 2 : count + t + size // 2 + 1])[size // 2] for t in range(count)
            ]
            assert filtered.scores[clip, :count, column].tolist() == middle
            edges = frames.edges[clip].tolist()
            start = None
            for t, score in enumerate([*middle, 0.0]):
                if score > thresholds[column] and start is None:
                    start = edges[t]
                elif score <= thresholds[column] and start is not None:
                    found.append((clip, column, start, edges[t]))
                    start = None
    assert rows(filtered.spans(thresholds)) == found


@pytest.mark.parametrize("seed", range(3))
def test_frames_and_segments_hold_what_overlaps_them(seed):
    frames = frames_of(seed)
    truth, found, (n, t, k) = truth_of(seed, frames), frames.spans(), frames.scores.shape
    active = frames.active(truth)
    for clip, step, column in itertools.product(range(n), range(t), range(k)):
        low, high = frames.edges[clip, step : step + 2]
        overlaps = any(c == clip and q == column and on < high and off > low for c, q, on, off in rows(truth))
        assert active[clip, step, column] == (overlaps and step < frames.counts[clip])
    counts = segment_counts(truth, found, frames.lengths_s, k, 0.8)
    for clip, column in itertools.product(range(n), range(k)):
        sums = np.zeros(3, int)
        for low in np.arange(0, frames.lengths_s[clip], 0.8):
            true, heard = (
                any(
                    c == clip and q == column and on < low + 0.8 - 1e-9 and off > low + 1e-9
                    for c, q, on, off in rows(s)
                )
                for s in (truth, found)
            )
            sums += [true and heard, heard, true]
        assert [part[clip, column] for part in counts] == sums.tolist()


# ---- F1 ---------------------------------------------------------------------------------------------------------


def test_collar_and_offset_tolerance_are_those_of_the_definition():
    """Onsets within .2 s, offsets within .2 s or 20 % of the true length; a found event is used once."""
    truth = Spans.of([(0, 0, 1.0, 2.0), (0, 0, 3.0, 8.0), (1, 0, 1.0, 2.0), (1, 1, 1.0, 2.0)])
    for found, hits in {
        ((0, 0, 1.2, 2.2),): 1,
        ((0, 0, 1.21, 2.0),): 0,
        ((0, 0, 1.0, 2.21),): 0,
        ((0, 0, 3.0, 9.0),): 1,
        ((0, 0, 2.8, 9.01),): 0,
        ((1, 1, 1.1, 1.9), (1, 0, 0.9, 2.0)): 2,
        ((1, 1, 3.0, 5.0),): 0,
        (): 0,
    }.items():
        counts = event_counts(truth, Spans.of(list(found)), (2, 2))
        assert [int(part.sum()) for part in counts] == [hits, len(found), 4]
    assert event_counts(truth, Spans.of([(0, 0, 1.0, 9.0)]), (2, 2), offset_share=None).hits.sum() == 1


TIMES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=5)


@given(TIMES, TIMES)
@example([(0, 1), (2, 1)], [(1, 1)])  # near both
@example([(1, 1)], [(0, 1), (2, 1)])
def test_as_many_events_are_matched_as_any_assignment_can(true, heard):
    truth, found = (Spans.of([(0, 0, on / 10, (on + length) / 10) for on, length in each]) for each in (true, heard))
    pairs = rows(truth), rows(found)

    def near(one, other) -> bool:
        allowed = max(0.2, 0.2 * (one[3] - one[2]))
        return abs(one[2] - other[2]) <= 0.2 + 1e-9 and abs(one[3] - other[3]) <= allowed + 1e-9

    short, long = sorted(pairs, key=len)
    order = (lambda a, b: near(a, b)) if short is pairs[0] else (lambda a, b: near(b, a))
    best = max(
        sum(order(one, other) for one, other in zip(short, chosen, strict=True))
        for chosen in itertools.permutations(long, len(short))
    )
    assert event_counts(truth, found, (1, 1)).hits.sum() == best


def test_rates_and_resamples_are_those_of_the_counts():
    counts = Counts(*(np.array(part) for part in ([[1, 0], [2, 0]], [[2, 1], [2, 0]], [[1, 2], [4, 0]])))
    rates = {name: float(value[0]) for name, value in counts.rates().items()}
    assert rates["f1_micro"] == pytest.approx(2 * 3 / (5 + 7)) and rates["precision"] == pytest.approx(3 / 5)
    assert rates["f1_macro"] == pytest.approx((2 * 3 / (4 + 5) + 0) / 2) and rates["recall"] == pytest.approx(3 / 7)
    twice = counts.rates(np.array([[2, 0], [0, 1]]))
    assert twice["f1_micro"].tolist() == pytest.approx([2 * 2 / (6 + 6), 2 * 2 / (2 + 4)])
    assert counts.class_f1().tolist() == pytest.approx([6 / 9, 0])
    assert twice["f1_macro"].tolist() == pytest.approx([(4 / 6 + 0) / 2, 4 / 6])  # without true events: not in the mean


# ---- against sed_scores_eval ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluator():
    return pytest.importorskip("sed_scores_eval", reason="sed_scores_eval is not installed: pseudolabel[sed]")


@pytest.mark.parametrize("seed", range(3))
def test_segment_and_event_f1_are_those_of_sed_scores_eval(evaluator, seed):
    from pseudolabel.scores.psds import _tables

    frames = frames_of(seed, n=12)
    truth, (n, _, k) = truth_of(seed, frames, 60), frames.scores.shape
    tables, events = _tables(frames, np.arange(k)), as_events(truth, n)
    lengths = {str(clip): length for clip, length in enumerate(frames.lengths_s.tolist())}
    ours = segment_counts(truth, frames.spans(0.6), frames.lengths_s, k).class_f1()
    theirs, *_ = evaluator.segment_based.fscore(tables, events, lengths, 0.6, segment_length=1.0)
    assert ours.tolist() == pytest.approx([theirs[f"k{column}"] for column in range(k)])
    collars = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
    ours = event_counts(truth, frames.spans(0.6), (n, k)).class_f1()
    theirs, *_ = evaluator.collar_based.fscore(tables, events, 0.6, **collars)
    assert ours.tolist() == pytest.approx([theirs[f"k{column}"] for column in range(k)])


def test_perfect_scores_have_a_psds_of_one_and_silent_ones_of_zero(evaluator):
    frames = frames_of(1)
    truth = frames.spans()
    perfect = Frames.of(frames.active(truth).astype(float), frames.hop_s, None, frames.counts, frames.lengths_s)
    silent = Frames.of(np.zeros(frames.scores.shape), frames.hop_s, None, frames.counts, frames.lengths_s)
    for scenario in ("psds_1", "psds_2"):
        assert psds(perfect, truth, scenario).value == pytest.approx(1)
        assert psds(silent, truth, scenario).value == 0
    assert psds(perfect, Spans.of([]), "psds_1").value is np.nan


def test_psds_1_of_a_hand_made_case(evaluator):
    """One class, an hour: right above .5, the second event only above .3 with 20 false alarms, none of 100 later."""
    scores, truth = np.zeros((1, 3600, 1)), [(0, 0, 10.0, 20.0), (0, 0, 30.0, 40.0)]
    scores[0, 10:20], scores[0, 30:40], scores[0, 100:140:2] = 0.8, 0.4, 0.6
    frames = Frames.of(scores, 1.0)
    found = psds(frames, Spans.of(truth), "psds_1")
    assert found.value == pytest.approx((20 * 0.5 + 80 * 1.0) / 100)
    assert found.classes.tolist() == [found.value]


def test_a_class_without_events_neither_lowers_nor_spreads_psds(evaluator):
    frames = frames_of(2)
    truth = truth_of(2, frames)
    scores = 0.5 * frames.active(truth) + 0.4 * frames.scores
    frames = Frames.of(scores, frames.hop_s, None, frames.counts, frames.lengths_s)
    for n_left in (1, 2):
        kept = truth.where(truth.column < n_left)
        fewer = Frames.of(frames.scores[..., :n_left], frames.hop_s, None, frames.counts, frames.lengths_s)
        found = psds(frames, kept, "psds_2")
        assert found.value == psds(fewer, kept, "psds_2").value > 0
        assert np.isnan(found.classes).tolist() == [column >= n_left for column in range(3)]


@pytest.mark.parametrize(
    ("psds_1", "psds_2", "score"), [(0.452, 0.746, 1.40), (0.382, 0.654, 1.20), (0.361, 0.643, 1.16)]
)
def test_the_score_of_the_poster_is_the_mean_over_the_baseline(psds_1, psds_2, score):
    assert poster_score({"psds_1": psds_1, "psds_2": psds_2}) == pytest.approx(score, abs=0.006)
