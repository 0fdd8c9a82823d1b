"""Every recipe: its shell, the options that it names, its run at SCALE=tiny (slow; psl_2s.sh has its own module)."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SCRIPTS = sorted(RECIPES.glob("*.sh"))
NOT_VERBS = ("setup.sh", "test.sh")  # they call pip and pytest
VERBS = (
    "simulate",
    "prepare",
    "train",
    "score",
    "average",
    "enhance",
    "evaluate",
    "balance",
    "release",
)
# How a line names the verb that its options belong to.
CALLS = (
    (r"\bstep \S+ ([a-z]\w+)(?!\.py)\b", None),
    (r"\bmade \S+ (train) import\b", None),
    (r"-m \"?pseudolabel\.([a-z]\w*)", None),
    (r"^\s*verb ([a-z]+)", None),
    (r"\bpsla_(?:train|teacher) ", "train"),
    (r"\bfinish\b", "evaluate"),
)
SETTING = r"\b([A-Z][A-Z0-9_]+)=(?:\$\{\1[:-]|\$\(\[)"  # NAME=${NAME:-...}: what a recipe takes from its surroundings
SETTINGS = {"ROWS", "RULES", "TEACHER_RUN"}.union(*(re.findall(SETTING, path.read_text()) for path in SCRIPTS))


# ---- what the scripts say -------------------------------------------------------------------------------------------


def commands(script: Path) -> list[str]:
    """Return the lines of a script without comments, continued lines as one."""
    lines = script.read_text(encoding="utf-8").splitlines()
    kept = [re.sub(r"(^|\s)#.*$", "", line) for line in lines]
    return re.sub(r"\\\n", " ", "\n".join(kept)).splitlines()


@cache
def options_of(verb: str) -> frozenset[str]:
    """Return the options of a verb and of its subcommands, as --help names them."""
    module, shown = importlib.import_module(f"pseudolabel.{verb}"), io.StringIO()
    commands = getattr(module, "COMMANDS", {})
    for name in commands if isinstance(commands, dict) else ():
        with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
            module.main([*filter(None, [name]), "--help"])
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        module.main(["--help"])
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", shown.getvalue()))


@cache
def known_anywhere() -> frozenset[str]:
    """Return the options of all verbs, and of the Python files beside the recipes."""
    texts = [path.read_text() for path in RECIPES.glob("*.py")]
    own = {option for text in texts for option in re.findall(r'"(--[a-z-]+)"', text)}
    fields = {field for text in texts for field in re.findall(r"^    (\w+): .* = option\(", text, re.MULTILINE)}
    own |= {f"--{field.replace('_', '-')}" for field in fields}
    return frozenset(own | {"--plan"}).union(*(options_of(verb) for verb in VERBS))  # --plan: of recipes themselves


def verb_of(line: str) -> str | None:
    """Return the verb that a line calls, None where it calls none (options that are put aside for a later line)."""
    for pattern, verb in CALLS:
        found = re.search(pattern, line)
        if found:
            return verb or found[1]
    return None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_shell(script):
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name not in NOT_VERBS], ids=lambda path: path.name)
def test_every_option_exists(script):
    unknown = []
    for line in commands(script):
        verb = verb_of(line)
        known = known_anywhere() if verb is None else options_of(verb)
        named = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", line)
        unknown += [(verb, option) for option in named if option not in known]
    assert not unknown


def test_options_are_found_and_judged(tmp_path):
    script = tmp_path / "made.sh"
    script.write_text(
        "step a/b.h5 score --windows clip \\\n    --nonsense  # --comment\nmask=(--mel-mask 4)\nfinish --runs x\n"
    )
    first, second, third = (line for line in commands(script) if line.strip())
    assert verb_of(first) == "score" and "--nonsense" in first and "--comment" not in first
    assert "--windows" in options_of("score") and "--nonsense" not in options_of("score")
    assert verb_of(second) is None and "--mel-mask" in known_anywhere()
    assert verb_of(third) == "evaluate" and "--runs" in options_of("evaluate")


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name not in NOT_VERBS], ids=lambda path: path.name)
def test_head_explains_the_settings(script):
    text, told = script.read_text(encoding="utf-8"), head_of(script)
    told += "".join(head_of(path) for path in SCRIPTS if path.name in told)  # "the settings: see common.sh"
    assert [name for name in sorted(set(re.findall(SETTING, text))) if name not in told] == []


def head_of(script: Path) -> str:
    """Return the comment at the top of a script."""
    return "\n".join(itertools.takewhile(lambda line: line.startswith("#"), script.read_text().splitlines()))


# ---- what they do ---------------------------------------------------------------------------------------------------


def run_recipe(name: str, work: Path, **settings: object) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    environment |= {"SCALE": "tiny", "WORK": str(work), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    environment |= {key: str(value) for key, value in settings.items()}
    command = ["bash", str(RECIPES / f"{name}.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def rows_of(folder: Path) -> set[str]:
    """Return the rows of an evaluation."""
    return {row["row"] for row in json.loads((folder / "metrics.json").read_text())["rows"]}


def assert_finished(run: subprocess.CompletedProcess, work: Path) -> None:
    assert run.returncode == 0, run.stdout[-1000:] + run.stderr[-2000:]
    assert "mAP" in run.stdout and "took " in run.stdout
    assert not list(work.rglob("*.tmp")) and not list(work.rglob("*.parts"))


def assert_skips_everything(name: str, work: Path, **settings: object) -> None:
    """Run a recipe that has finished once more: it makes nothing, and shows its table."""
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    again = run_recipe(name, work, **settings)
    assert again.returncode == 0, again.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before
    assert "mAP" in again.stdout and "have " in again.stdout


@pytest.fixture(scope="module")
def balanced(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The work folder of psla_balanced.sh, and how it ended."""
    work = tmp_path_factory.mktemp("psla") / "work"
    return work, run_recipe("psla_balanced", work)


@pytest.mark.slow
def test_psla_balanced_ends_with_its_table(balanced):
    work, run = balanced
    assert_finished(run, work)
    rows = {"teacher"} | {f"{row}{part}" for row in ("psla", "no_enhanced") for part in ("", "-averaged", "-last2")}
    assert rows_of(work / "evaluation") == rows
    assert json.loads((work / "enhanced-psla-mean" / "summary.json").read_text())


@pytest.mark.slow
def test_psla_rows_differ_in_their_labels_alone(balanced):
    work, _ = balanced
    records = [json.loads((work / "runs" / f"{row}-seed0" / "run.json").read_text()) for row in ("psla", "no_enhanced")]
    options = [
        {key: value for key, value in record["options"].items() if key not in ("row", "labels", "out")}
        for record in records
    ]
    assert options[0] == options[1]
    assert [Path(record["options"]["labels"]).parent.name for record in records] == ["enhanced-psla-mean", work.name]


@pytest.mark.slow
def test_run_again_skips_every_step(balanced):
    assert_skips_everything("psla_balanced", balanced[0])


@pytest.mark.slow
def test_other_recipe_in_the_same_folder_is_refused(balanced):
    run = run_recipe("psla_full", balanced[0])
    assert run.returncode == 2 and "was made with other settings" in run.stderr and "RECIPE=psla_balanced" in run.stderr


@pytest.mark.parametrize("script", ["psla_full", "ast_fsd50k", "balance_sweep", "transfer", "published_teacher"])
def test_unknown_scale_leaves_no_folder(script, tmp_path):
    run = run_recipe(script, tmp_path / "work", SCALE="huge")
    assert run.returncode == 2 and "SCALE=huge" in run.stderr and not (tmp_path / "work").exists()


def test_unknown_row_is_named_with_those_that_there_are(tmp_path):
    run = run_recipe("ast_fsd50k", tmp_path / "work", ROWS="tiny huge")
    assert run.returncode == 2 and "huge is not one of the rows: tiny tiny_overlap" in run.stderr
    assert not (tmp_path / "work").exists()


# ---- the others, which take a minute or two each --------------------------------------------------------------------

PARTS = ("", "-averaged", "-checkpoints")
SCALES = ("", "@10s", "@5s", "@2s")  # whole clips, and the mean over pieces
SLOW = {
    "psl_10s": {f"{row}{scale}" for row in ("teacher", "weak", "psl_10s") for scale in SCALES},
    "psl_5s": {f"{row}{scale}" for row in ("teacher", "weak", "psl_5s") for scale in SCALES},
    "ablation": {f"{row}{part}" for row in ("psla", "no_sampling", "no_mask", "no_mixup", "none")
                 for part in ("", "-averaged")},
    "psla_full": {f"psla{part}" for part in (*PARTS, "-last2")},
    "ast_audioset": {"teacher"} | {f"ast{part}" for part in ("", "-averaged", "-last2")},
    "psla_fsd50k": {"teacher"} | {f"{row}{part}" for row in ("psla", "no_sampling", "no_mixup", "no_enhanced")
                                  for part in PARTS},
    "label_enhancement": {"original", "mean", "25p", "10p", "5p"},
    "ensemble": {"psla", "psla-averaged", "no_mask", "no_mixup", "checkpoints", "seeds", "settings", "all"},
    "detection": {"annotator", "weak", "psl_10s", "psl_5s", "psl_2s"},
    "transfer": {"scratch", "annotator", "student"},
    "published_teacher": {"published"},
    "ast_fsd50k": {"tiny", "tiny_overlap", "weighted"},
    "balance_sweep": {"beta_0", "beta_0.3", "beta_1"},
}  # fmt: skip


@pytest.fixture(scope="module", params=SLOW)
def recipe(request, tmp_path_factory) -> tuple[str, Path, subprocess.CompletedProcess]:
    """A recipe's name, its work folder, and how it ended."""
    work = tmp_path_factory.mktemp(request.param) / "work"
    return request.param, work, run_recipe(request.param, work)


@pytest.mark.slow
def test_recipe_ends_with_its_table(recipe):
    name, work, run = recipe
    assert_finished(run, work)
    assert rows_of(work / "evaluation") == SLOW[name]


@pytest.mark.slow
def test_recipe_run_again_skips_every_step(recipe):
    name, work, run = recipe
    assert run.returncode == 0
    assert_skips_everything(name, work)


@pytest.mark.slow
def test_student_of_another_network_is_tested_at_all_lengths(tmp_path):
    run = run_recipe("psl_5s", tmp_path / "work", STUDENT="ast_tiny")
    assert_finished(run, tmp_path / "work")
    assert rows_of(tmp_path / "work" / "evaluation") == SLOW["psl_5s"]


@pytest.mark.slow
def test_transfer_starts_from_the_named_runs(tmp_path):
    run = run_recipe("transfer", tmp_path / "work", ROWS="scratch student")
    assert_finished(run, tmp_path / "work")
    told = [line for line in run.stdout.splitlines() if line.startswith("starts from")]
    assert len(told) == 1 and "psl_2s-seed0" in told[0] and "other classes" in told[0]


@pytest.mark.slow
def test_known_truth_judges_rules_and_students_and_run_again_skips_every_step(tmp_path):
    work = tmp_path / "work"
    run = run_recipe("known_truth", work)
    assert run.returncode == 0, run.stdout[-1000:] + run.stderr[-2000:]
    students = (work / "comparison" / "students.csv").read_text().splitlines()[1:]
    assert [line.split(",")[3] for line in students] == ["weak", "25p", "precision-0.7", "soft", "true"]
    assert all(0 < float(line.split(",")[4]) < 1 for line in students)
    assert_skips_everything("known_truth", work)
