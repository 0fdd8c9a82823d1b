"""Options are checked by type: a wrong one is an error with the remedy, never another meaning."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.balance import BalanceOptions
from pseudolabel.corpus.annotator import AnnotatorOptions
from pseudolabel.corpus.scenes import SceneOptions
from pseudolabel.errors import InputError
from pseudolabel.evaluation_lists import EvaluateOptions
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.options import check_types, option
from pseudolabel.score import ScoreOptions
from pseudolabel.score_import import ImportOptions
from pseudolabel.simulate import SimulateOptions
from pseudolabel.training.options import KEEP_ALL, AugmentOptions, SamplingOptions, Schedule, TrainOptions

CLASSES = (
    *(EnhanceOptions, SimulateOptions, SceneOptions, AnnotatorOptions),
    *(TrainOptions, AugmentOptions, SamplingOptions, Schedule),
)


@dataclass(frozen=True)
class Options:
    rule: str = option("mean", choices=("mean", "median", "0.5"))
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 0.5)
    count: int = 1
    share: float = 0.5
    flag: bool = False
    most: int | None = None
    rounds: int | str = 1

    def __post_init__(self) -> None:
        check_types(self)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": 0.5}, r"Options.rule: must be text, not 0.5. Give '0.5'."),
        ({"rule": None}, "must be text, not None"),
        ({"rule": Path("t.csv")}, "Give 't.csv'."),
        ({"rule": "x"}, "no such choice: 'x'. Give mean or median or 0.5."),
        ({"names": "II"}, r"must be a tuple of text, not 'II'. Give \('II',\)."),
        ({"names": ("a", 1)}, "must be a tuple of text"),
        ({"names": {"a"}}, "must be a tuple of text"),
        ({"pair": (1, 2, 3)}, r"must be a tuple \(a whole number, a number\)"),
        ({"pair": 4}, "must be a tuple"),
        ({"count": 1.0}, "must be a whole number, not 1.0"),
        ({"count": True}, "must be a whole number, not True"),
        ({"count": "3"}, "not '3'. Give 3."),
        ({"share": "0.5"}, "not '0.5'. Give 0.5."),
        ({"share": False}, "must be a number"),
        ({"flag": "no"}, "must be True or False, not 'no'"),
        ({"flag": 1}, "must be True or False, not 1"),
        ({"most": "2"}, "must be a whole number or None, not '2'. Give 2."),
        ({"rounds": 1.5}, "must be a whole number or text"),
        ({"names": "x" * 1000}, r"not 'x{70,80}"),
    ],
)
def test_a_value_of_another_type_is_an_error_with_the_remedy(given, message):
    with pytest.raises(InputError, match=message):
        Options(**given)


def test_values_that_mean_the_same_are_taken():
    options = Options(names=["a", "b"], pair=(np.int64(2), np.float32(0.5)), count=np.int64(3), share=1)
    assert (options.names, options.pair, options.count, options.share) == (("a", "b"), (2, 0.5), 3, 1)
    assert type(options.count) is int and [type(value) for value in options.pair] == [int, float]
    assert options == Options(names=("a", "b"), pair=(2, 0.5), count=3, share=1.0)
    hash(options)


@pytest.mark.parametrize("options", CLASSES)
def test_every_field_of_every_options_class_refuses_what_it_cannot_be(options):
    default = options()
    for field in fields(options):
        for strange in (object(), {"a": 1}, b"1"):
            with pytest.raises(InputError, match=f"{options.__name__}.{field.name}: must be"):
                options(**{field.name: strange})
        given = getattr(default, field.name)
        if isinstance(given, tuple):  # text where several are expected, and one where a pair is
            for alone in ("II", 5):
                with pytest.raises(InputError, match="must be a tuple"):
                    options(**{field.name: alone})
        elif isinstance(given, bool | int | float) or is_dataclass(given):
            with pytest.raises(InputError, match="must be"):
                options(**{field.name: "1"} if field.name != "rounds" else {field.name: 1.0})
        elif isinstance(given, str):
            with pytest.raises(InputError, match="must be"):
                options(**{field.name: 0.5})


def test_every_options_class_of_the_package_is_tested_here():
    package = Path(check_types.__code__.co_filename).parent
    named = {
        line.split()[1].partition("(")[0].rstrip(":")
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("class ") and line.endswith("Options:")  # one with a base is checked by `Options`
    }
    assert named - {"Options"} <= {one.__name__ for one in CLASSES}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"errors": "II"}, r"EnhanceOptions.errors: must be a tuple of text, not 'II'. Give \('II',\)."),
        ({"threshold": 0.5}, r"EnhanceOptions.threshold: must be text, not 0.5. Give '0.5'."),
        ({"threshold": Path("thresholds.csv")}, "Give 'thresholds.csv'."),
        ({"rounds": "2"}, "'2' is not a number of rounds"),
        ({"rounds": True}, "must be a whole number or text, not True"),
        ({"floor": "0.1"}, "Give 0.1."),
        ({"min_positives": 2.5}, "must be a whole number"),
        ({"strict": "no"}, "must be True or False"),
        ({"type1": ("children",)}, "must be text"),
    ],
)
def test_enhance_options_never_take_another_meaning(given, message):
    with pytest.raises(InputError, match=message):
        EnhanceOptions(**given)
    assert EnhanceOptions(errors=["II", "I"]).errors == ("I", "II")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Schedule("sine"),
        lambda: AugmentOptions(mixup_domain="mel"),
        lambda: TrainOptions(optimizer="sgd"),
        lambda: TrainOptions(precision="half"),
    ],
)
def test_choices_that_nothing_knows_are_refused_at_once(wrong):
    with pytest.raises(InputError, match="no such choice"):
        wrong()


@pytest.mark.parametrize(
    ("kind", "name"),
    [(ScoreOptions, "windows"), (EvaluateOptions, "scales"), (BalanceOptions, "betas")],
)
def test_an_option_of_several_values_with_a_default_is_not_empty(kind, name):
    with pytest.raises(InputError, match=rf"{kind.__name__}\.{name}: must have at least one value\. Leave it out"):
        kind(**{name: ()})


def test_classes_take_the_words_that_commands_take():
    assert TrainOptions(precision="auto") == TrainOptions()
    assert TrainOptions(keep_checkpoints="all").keep_checkpoints == KEEP_ALL
    with pytest.raises(InputError, match=r"keep_checkpoints: must be a whole number or 'all', not 'most'"):
        TrainOptions(keep_checkpoints="most")


@pytest.mark.parametrize("arrays", [Path("a.npy"), "a.npy"])
def test_one_path_where_several_are_expected_is_named(arrays):
    with pytest.raises(InputError) as caught:
        ImportOptions(arrays=arrays)
    rule = "ImportOptions.arrays: must be a tuple of paths or (scale, path) pairs"
    assert str(caught.value) == f"{rule}, not {arrays!r}. Give ({arrays!r},)."
