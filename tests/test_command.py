"""From a command line to options: what dataclasses declare is what a command takes, before and after a subcommand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pseudolabel import dry_run
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError
from pseudolabel.options import COUNT, NON_NEGATIVE, SHARE, Options, VerbOptions, name_value, nested, option


@dataclass(frozen=True, kw_only=True)
class Inner(Options):
    rate: float = option(0.5, "share of clips", SHARE, flag="--mixup-rate")
    kind: str = option("cosine", "which", choices=("cosine", "halving"))


@dataclass(frozen=True, kw_only=True)
class MakeOptions(VerbOptions):
    """All kinds of options."""

    runs: tuple[Path, ...] = option((), "runs", metavar="RUN", positional=True)
    epochs: int = option(30, "how many", COUNT)
    most: int | None = option(None, "at most", COUNT)
    betas: tuple[float, float] = option((0.9, 0.999), "of Adam", SHARE)
    weights: tuple[float, ...] = option((), "one each", NON_NEGATIVE, group="weights")
    text: str | None = option(None, "a name")
    given: tuple[tuple[str, object], ...] = option((), "e.g. width=.25", parse=name_value)
    soft: bool = option(False, "soft")
    processes: int = option(1, "how many", COUNT)
    inner: Inner = nested(Inner, "augmentation")


@dataclass(frozen=True, kw_only=True)
class CheckOptions(VerbOptions):
    folder: Path = option(help="what is checked", positional=True)


def commands(seen: list) -> dict[str, Command]:
    return {
        "make": Command(MakeOptions, seen.append, lambda options: f"would make {options.work}"),
        "check": Command(CheckOptions, seen.append),
    }


def parsed(*argv: str):
    seen = []
    assert run_command("try", "A verb.", commands(seen), argv) == 0
    return seen[0]


def test_defaults_are_those_of_the_dataclass():
    assert parsed() == MakeOptions()


def test_every_kind_of_option_is_taken():
    options = parsed(
        "a", "b", "--epochs", "3", "--most", "2", "--betas", ".5", "1", "--weights", "1", "2", "--soft", "--kind",
        "halving", "--mixup-rate", "1", "--given", "w=.25", "n=x", "--given", "l=[1, 2]", "--overwrite",
    )  # fmt: skip
    assert options == MakeOptions(
        runs=(Path("a"), Path("b")), epochs=3, most=2, betas=(0.5, 1.0), weights=(1.0, 2.0), soft=True, overwrite=True,
        inner=Inner(rate=1.0, kind="halving"), given=(("w", 0.25), ("n", "x"), ("l", [1, 2])),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "work"),
    [
        (["--work", "x", "check", "f"], "x"),
        (["check", "--work", "x", "f"], "x"),
        (["check", "f", "--work", "x"], "x"),
        (["--work=x", "--strict", "check", "f"], "x"),
        (["--work", "check", "check", "f"], "check"),
        (["--work", "y", "check", "f", "--work", "x"], "x"),
    ],
)
def test_options_of_all_verbs_may_come_before_and_after_a_subcommand(argv, work):
    """A subparser's default would undo those before it."""
    options = parsed(*argv)
    assert (options.work, options.folder) == (Path(work), Path("f"))
    assert options.strict == ("--strict" in argv)


def test_without_a_subcommand_a_verb_does_its_first(capsys):
    assert parsed("make", "check") == parsed("--", "check") == MakeOptions(runs=(Path("check"),))
    assert run_command("try", "A verb.", commands([]), ["--dry-run", "--work", "x"]) == 0
    assert capsys.readouterr().out == "would make x\n"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--epochs", "0"], "pseudolabel try: error: argument --epochs: must be a whole number of at least 1, not '0'"),
        (["--epochs", "1.5"], "argument --epochs: must be a whole number of at least 1, not '1.5'"),
        (["--weights", "1", "nan"], "argument --weights: must be a number of at least 0, not 'nan'"),
        (["--mixup-rate", "2"], "argument --mixup-rate: must be a number in [0, 1], not '2'"),
        (["--given", "w"], "argument --given: must be NAME=VALUE, not 'w'"),
        (["--kind", "x"], "argument --kind: invalid choice: 'x'"),
        (["check"], "pseudolabel try check: error: the following arguments are required: folder"),
        (["--check", "f"], "unrecognized arguments: --check (a subcommand comes first: pseudolabel try check)"),
        (["--check=f"], "unrecognized arguments: --check=f (a subcommand comes first: pseudolabel try check)"),
        (["--old", "f"], "unrecognized arguments: --old (a subcommand comes first: pseudolabel try check)"),
        (["--epoch", "3"], "unrecognized arguments: --epoch (did you mean --epochs?)"),
        (["--epoch=3"], "unrecognized arguments: --epoch=3 (did you mean --epochs?)"),
        (["--zzz"], "pseudolabel try: error: unrecognized arguments: --zzz"),
        (["--zzz", "a"], "unrecognized arguments: --zzz"),
        (["--jobs=3"], "unrecognized arguments: --jobs=3 (did you mean --processes?)"),
        (["check", "f", "--given", "w=1"], "--given w=1 (an option of pseudolabel try make)"),
        (["check", "f", "g"], "pseudolabel try check: error: unrecognized arguments: g (subcommands: make, check)"),
        (["--epochs", "1" * 5000], f"must be a whole number of at least 1, not '{'1' * 76}..."),
        (["--epochs", "1" * 30], f"must be at most 1,000,000,000, not '{'1' * 30}'"),
        (["--mixup-rate", "1e300"], "must be a number in [0, 1], not '1e300'"),
        (["--weights", "1e10"], "must be at most 1,000,000,000, not '1e10'"),
        (["--text", ""], "argument --text: must not be empty"),
        (["--text", " "], "argument --text: must not be empty"),
        (["--work="], "argument --work: must not be empty"),
        (["--text", "a\udcff"], "argument --text: must be UTF-8 text, not 'a\\udcff'"),
        (["--work", "a\udcff"], "argument --work: must be UTF-8 text, not 'a\\udcff'"),
        (["a", "b\udcff"], "must be UTF-8 text, not 'b\\udcff'"),
        (["--text", "-x"], "expected one argument (a value that begins with a dash: --text=-x)"),
        (["--text"], "pseudolabel try: error: argument --text: expected one argument"),
        (["--betas", "1"], "pseudolabel try: error: argument --betas: expected 2 arguments"),
    ],
)
def test_what_a_command_does_not_take_is_named_with_the_rule(capsys, argv, line):
    with pytest.raises(SystemExit) as caught:
        run_command("try", "A verb.", commands([]), argv, former={"old": "check"})
    assert caught.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said


def test_a_list_that_is_given_twice_has_all_its_values():
    options = parsed("a", "--weights", "1", "--weights", "2", "3", "--betas", ".1", ".2", "--betas", ".3", ".4")
    assert (options.weights, options.betas) == ((1.0, 2.0, 3.0), (0.3, 0.4))


def test_positionals_may_come_before_and_after_options():
    options = parsed("a", "--epochs", "3", "b", "--soft", "c")
    assert (options.runs, options.epochs, options.soft) == ((Path("a"), Path("b"), Path("c")), 3, True)
    assert parsed("check", "--strict", "f").folder == parsed("check", "f", "--strict").folder == Path("f")


def test_a_misspelt_subcommand_is_named_unless_it_is_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for argv in (["chek", "f"], ["--work", "x", "chek"], ["makes"]):
        assert run_command("try", "A verb.", commands([]), argv) == 2
    assert capsys.readouterr().err.splitlines() == [
        "pseudolabel try: error: no subcommand 'chek'; did you mean check?",
        "pseudolabel try: error: no subcommand 'chek'; did you mean check?",
        "pseudolabel try: error: no subcommand 'makes'; did you mean make?",
    ]
    Path("chek").touch()
    assert parsed("chek").runs == (Path("chek"),)


def test_the_help_of_a_subcommand_may_be_asked_for_before_it(capsys):
    with pytest.raises(SystemExit) as caught:
        run_command("try", "A verb.", commands([]), ["--help", "check"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: pseudolabel try check ")


@dataclass(frozen=True, kw_only=True)
class DependentOptions(VerbOptions):
    rate: float = option(0.0, "share", SHARE)
    alpha: float = option(10.0, "of the mix", NON_NEGATIVE, needs="rate")
    how: str = option("estimate", "how", choices=("estimate", "mean"))
    pieces: int = option(5, "how many", COUNT, needs="how=estimate")
    all: bool = option(False, "all")
    soft: bool = option(False, "soft", needs="!all,absent|how=estimate")
    kinds: tuple[str, ...] = option(("x",), "kinds")
    of_x: bool = option(False, "of x", needs="kinds=x|rate")


def test_an_option_without_effect_is_refused(capsys):
    def ended(*argv: str) -> tuple[int, str]:
        code = run_command("try", "A verb.", Command(DependentOptions, lambda options: None), argv)
        return code, capsys.readouterr().err

    line = "pseudolabel try: error: --alpha: has no effect without --rate. Give --rate too, or leave it out.\n"
    assert ended("--alpha", "3") == ended("--alpha", "10") == (2, line)
    assert ended("--alpha", "3", "--rate", ".5") == ended("--pieces", "6") == ended("--how", "mean") == (0, "")
    line = "--pieces: has no effect without --how estimate. Give --how estimate too, or leave it out.\n"
    assert ended("--pieces", "5", "--how", "mean") == (2, f"pseudolabel try: error: {line}")
    for given in (["--soft"], ["--all", "--how", "mean"], ["--all", "--how", "mean", "--kinds", "y"]):
        assert ended(*given) == (0, "")
    line = "--soft: has no effect with --all. Leave one out.\n"
    assert ended("--soft", "--all", "--how", "mean") == (2, f"pseudolabel try: error: {line}")
    line = "--of-x: has no effect without --kinds x. Give --kinds x too, or leave it out.\n"
    assert ended("--of-x", "--kinds", "y") == (2, f"pseudolabel try: error: {line}")
    assert ended("--of-x", "--kinds", "y", "x") == ended("--of-x", "--kinds", "y", "--rate", "1") == (0, "")
    with pytest.raises(InputError, match="--alpha: has no effect without --rate"):
        DependentOptions(alpha=3.0)
    assert DependentOptions(alpha=10.0) == DependentOptions()


@dataclass(frozen=True, kw_only=True)
class PartOptions(VerbOptions):
    inner: Inner = nested(Inner, hidden=("kind",))


def test_a_nested_option_may_be_hidden(capsys):
    seen = []
    assert run_command("try", "A verb.", Command(PartOptions, seen.append), ["--kind", "halving"]) == 0
    assert seen[0].inner.kind == "halving"
    with pytest.raises(SystemExit):
        run_command("try", "A verb.", Command(PartOptions, seen.append), ["--help"])
    said = capsys.readouterr().out
    assert "--mixup-rate" in said and "--kind" not in said


def test_a_value_that_is_called_as_a_subcommand_is_a_value(capsys):
    assert run_command("try", "A verb.", commands([]), ["--work", "check", "--dry-run"]) == 0
    assert capsys.readouterr().out == "would make check\n"
    assert run_command("try", "A verb.", commands([]), ["--work", "make"], needed=True) == 2
    assert capsys.readouterr().err == "pseudolabel try: error: name one of make, check\n"


def test_what_a_dry_run_promises_is_not_there_for_the_next_command(tmp_path):
    def plan(options):
        dry_run.promise(tmp_path / "made")
        return f"would write {dry_run.there(tmp_path / 'made')}"

    assert run_command("try", "A verb.", Command(VerbOptions, print, plan), ["--dry-run"]) == 0
    assert not dry_run.there(tmp_path / "made")


def test_options_made_in_python_follow_the_same_rules():
    for given, message in [
        ({"epochs": 0}, "MakeOptions.epochs: must be a whole number of at least 1, not 0"),
        ({"weights": (1, -1)}, "MakeOptions.weights: must be a number of at least 0, not -1"),
        ({"betas": (0.9,)}, r"must be a tuple \(a number, a number\)"),
    ]:
        with pytest.raises(InputError, match=message):
            MakeOptions(**given)
    with pytest.raises(InputError, match="no such choice"):
        Inner(kind="x")


def test_help_gives_every_default(capsys):
    with pytest.raises(SystemExit):
        run_command("try", "A verb.", commands([]), ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for said in ("how many (default: 30)", "of Adam (default: 0.9 0.999)", "share of clips (default: 0.5)"):
        assert said in text
    assert "augmentation:" in text and "weights:" in text and "at most" in text
