"""The annotator's slips happen as often as they are said to, and every one is accounted for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pseudolabel.corpus.annotator import Annotator, AnnotatorOptions, draw_rates
from pseudolabel.errors import InputError
from pseudolabel.labels.splits import draw_balanced
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

# thing > animal > dog > bark; thing > rain; tool > bark (two parents); hum stands alone
IDS = ("thing", "animal", "dog", "bark", "tool", "rain", "hum")
ABOVE = {
    "animal": ["thing"], "dog": ["animal", "thing"], "bark": ["dog", "animal", "thing", "tool"], "rain": ["thing"],
}  # fmt: skip
TOY = Vocabulary("toy", IDS, IDS, IDS)
PAIRS = sparse.csr_array(np.array([[above in ABOVE.get(one, []) for above in IDS] for one in IDS]))
EVENTS = ("bark", "rain", "hum")
NEVER = AnnotatorOptions(0.0, 0.0, 0.0, 0.0)


def annotator(options: AnnotatorOptions, seed: int = 0) -> Annotator:
    return Annotator.draw(TOY, PAIRS, EVENTS, options, seed)


def fixed(**rates: dict[str, float]) -> Annotator:
    """Return an annotator who slips only where told."""
    drawn = annotator(NEVER)
    for slip, of_class in rates.items():
        for class_id, rate in of_class.items():
            drawn.rates[slip][TOY.index[class_id]] = rate
    return drawn


def test_a_careful_annotator_gives_the_truth_with_all_ancestors():
    found = annotator(NEVER).annotate("a", ["bark", "hum"])
    assert found.truth == found.given == ["thing", "animal", "dog", "bark", "tool", "hum"]
    assert found.dropped == []


def test_a_missing_parent_is_dropped_beside_its_child():
    found = fixed(missing_parent={"animal": 1.0}).annotate("a", ["bark"])
    assert found.given == ["thing", "dog", "bark", "tool"]
    assert found.dropped == [("animal", "parent")]


def test_a_missed_event_takes_the_branch_that_nothing_else_supports():
    found = fixed(missed_event={"bark": 1.0}).annotate("a", ["bark", "rain"])
    assert found.given == ["thing", "rain"]
    assert found.dropped == [("animal", "branch"), ("dog", "branch"), ("bark", "branch"), ("tool", "branch")]


def test_a_missing_child_is_given_as_one_of_its_ancestors():
    named = fixed(missing_child={"bark": 1.0})
    seen = set()
    for number in range(60):
        found = named.annotate(f"clip{number}", ["bark"])
        assert "bark" not in found.given
        assert all(why == "child" for _, why in found.dropped)
        seen.add(tuple(found.given))
    assert seen == {("thing",), ("thing", "animal"), ("thing", "animal", "dog"), ("tool",)}


def test_a_false_label_is_listed_and_only_absent_classes_can_be_false():
    found = fixed(false_label=dict.fromkeys(IDS, 1.0)).annotate("a", ["rain"])
    assert found.given == list(IDS)
    assert found.dropped == [(one, "false") for one in IDS if one not in ("thing", "rain")]


def test_a_clip_always_keeps_the_class_that_is_omitted_most_rarely():
    missing = fixed(missed_event={"bark": 1.0, "rain": 0.99})
    assert missing.annotate("a", ["bark", "rain"]).given == ["thing", "rain"]
    weary = fixed(missed_event={"bark": 1.0}, missing_child={"bark": 1.0}, missing_parent={"thing": 1.0})
    assert weary.annotate("a", ["bark"]).given == ["animal", "dog", "bark", "tool"]


def test_slips_that_cannot_happen_have_no_probability():
    rates = annotator(AnnotatorOptions()).rates
    has = {slip: {one for one, rate in zip(IDS, row, strict=True) if not np.isnan(rate)} for slip, row in rates.items()}
    assert has["missing_child"] == {"bark", "rain"}
    assert has["missing_parent"] == {"thing", "animal", "dog", "tool"}
    assert has["missed_event"] == set(EVENTS)
    assert has["false_label"] == set(IDS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(EVENTS), min_size=1, max_size=4),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(0, 1000),
)
def test_given_is_truth_without_the_dropped_and_with_the_false(events, means, seed):
    found = annotator(AnnotatorOptions(*means), seed).annotate("clip", events)
    closure = set(events) | {above for one in events for above in ABOVE.get(one, [])}
    false = {one for one, why in found.dropped if why == "false"}
    omitted = {one for one, why in found.dropped if why != "false"}
    assert set(found.truth) == closure
    assert omitted <= closure
    assert false.isdisjoint(closure)
    assert set(found.given) == (closure - omitted) | false
    assert found.given
    assert found.given == [one for one in IDS if one in found.given]
    assert found == annotator(AnnotatorOptions(*means), seed).annotate("clip", events[::-1])


def test_rates_converge_to_the_drawn_probabilities():
    chance = fixed(
        missing_child={"bark": 0.7}, missing_parent={"animal": 0.4, "thing": 0.15}, missed_event={"rain": 0.25},
        false_label={"tool": 0.1},
    )  # fmt: skip
    clips = [chance.annotate(f"clip{number}", ["bark", "rain", "hum"]) for number in range(4000)]

    def share(class_id: str, why: str, among) -> float:
        return sum((class_id, why) in one.dropped for one in among) / len(among)

    assert share("bark", "child", clips) == pytest.approx(0.7, abs=0.03)
    assert share("rain", "branch", clips) == pytest.approx(0.25, abs=0.03)
    named = [one for one in clips if "bark" in one.given]
    assert share("animal", "parent", named) == pytest.approx(0.4, abs=0.05)
    supported = [one for one in clips if "rain" in one.given]
    assert share("thing", "parent", [one for one in supported if "bark" in one.given]) == pytest.approx(0.15, abs=0.05)
    rain = [chance.annotate(f"rain{number}", ["rain", "hum"]) for number in range(4000)]
    assert share("tool", "false", rain) == pytest.approx(0.1, abs=0.02)


def test_a_clips_labels_do_not_depend_on_the_other_clips():
    drawn = annotator(AnnotatorOptions(0.5, 0.5, 0.5, 0.2), 7)
    there = {clip: drawn.annotate(clip, ["bark", "rain"]) for clip in "abcdef"}
    back = {clip: drawn.annotate(clip, ["bark", "rain"]) for clip in "fedcba"}
    assert there == back
    assert len({tuple(one.given) for one in there.values()}) > 1


@pytest.mark.parametrize("mean", [0.002, 0.06, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n", [5, 30])
def test_drawn_probabilities_are_wide_around_their_mean(mean, n):
    means = []
    for seed in range(40):
        rates = draw_rates(mean, n, np.random.default_rng(seed))
        assert ((rates >= 0) & (rates <= 1)).all()
        assert rates.max() - rates.min() > mean * (1 - mean)
        means.append(rates.mean())
    assert np.mean(means) == pytest.approx(mean, rel=0.15)


def test_with_a_third_missing_some_classes_are_complete_and_some_lack_nearly_everything():
    rates = draw_rates(0.35, 12, np.random.default_rng(0))
    assert rates.min() < 0.02
    assert rates.max() > 0.85


def test_never_and_always_are_exact():
    assert draw_rates(0.0, 3, np.random.default_rng(0)).tolist() == [0, 0, 0]
    assert draw_rates(1.0, 3, np.random.default_rng(0)).tolist() == [1, 1, 1]


def test_loud_events_and_their_ancestors_are_seldom_left_out():
    by_level = annotator(AnnotatorOptions(0.0, 1.0, 1.0, 0.0, loud_db=15.0))
    clips = [by_level.annotate(f"clip{n}", ["bark", "rain", "hum"], [12.5, 25.0, 15.0]) for n in range(4000)]

    def noticed(class_id: str) -> float:
        return np.mean([class_id in one.given for one in clips])

    assert noticed("hum") == pytest.approx(0.5, abs=0.03)
    assert noticed("rain") == pytest.approx(0.982, abs=0.01)  # 1 - 1 / (1 + e^4)
    assert noticed("bark") == pytest.approx(0.269, abs=0.03)  # 1 / (1 + e)
    with_bark = [one for one in clips if {"bark", "rain"} <= set(one.given)]
    assert np.mean(["animal" in one.given for one in with_bark]) == pytest.approx(0.269, abs=0.04)  # as bark
    assert np.mean(["thing" in one.given for one in with_bark]) == pytest.approx(0.982, abs=0.02)  # as rain


def test_an_annotator_by_letter_has_its_own_probabilities_and_takes_no_others():
    assert AnnotatorOptions().habits == AnnotatorOptions()
    assert AnnotatorOptions(preset="E").habits.false_label == 0.0014
    quiet, loud = (annotator(AnnotatorOptions(preset=letter)) for letter in "DA")
    assert quiet.loud_db == 18 and loud.loud_db is None
    assert all(np.array_equal(quiet.rates[slip], loud.rates[slip], equal_nan=True) for slip in loud.rates)
    with pytest.raises(InputError, match="no effect with --annotator"):
        AnnotatorOptions(missing_child=0.2, preset="A")


def test_a_probability_beyond_one_names_its_option():
    with pytest.raises(InputError, match="missing_parent"):
        AnnotatorOptions(missing_parent=1.5)


def test_the_tally_counts_every_slip():
    chance = fixed(missing_child={"bark": 1.0}, false_label={"hum": 1.0})
    rows = {
        row["class_id"]: row for row in chance.tally([chance.annotate("a", ["bark"]), chance.annotate("b", ["hum"])])
    }
    assert (rows["bark"]["n_true"], rows["bark"]["n_given"], rows["bark"]["n_child"]) == (1, 0, 1)
    assert (rows["hum"]["n_true"], rows["hum"]["n_given"], rows["hum"]["n_false"]) == (1, 2, 1)
    assert rows["hum"]["missing_child"] == ""
    assert rows["bark"]["missing_child"] == "1.000000"


def test_the_balanced_list_takes_every_clip_of_a_rare_class_and_is_more_even():
    rng = np.random.default_rng(0)
    sets = [["thing", "rain"] if rng.random() < 0.9 else ["thing", "animal", "dog"] for _ in range(200)]
    sets[17], sets[50] = ["hum"], []
    table = LabelTable.from_sets([f"c{k}" for k in range(200)], sets, TOY)
    drawn = draw_balanced(table, 30, np.random.default_rng(1))
    assert len(drawn) == len(set(drawn)) == 30
    assert drawn == sorted(drawn, key=lambda clip: int(clip[1:]))
    assert "c17" in drawn
    assert "c50" not in drawn
    rows = [sets[int(clip[1:])] for clip in drawn]
    n_rain, n_dog = (sum(one in row for row in rows) for one in ("rain", "dog"))
    assert min(n_rain, n_dog) >= 14 or n_dog == sum("dog" in row for row in sets)
    assert drawn == draw_balanced(table, 30, np.random.default_rng(1))
    assert len(draw_balanced(table, 200, np.random.default_rng(1))) == 199
