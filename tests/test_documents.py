"""README and docs: links and tables hold, the tree is the package's, and every command that they show runs."""

from __future__ import annotations

import csv
import glob
import importlib.util
import json
import lzma
import re
import shlex
import shutil
from collections.abc import Iterator
from os.path import expanduser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pseudolabel
from pseudolabel import cli

ROOT = Path(__file__).resolve().parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = (README, *sorted(DOCS.glob("*.md")), ROOT / "ontology" / "README.md")
MOST_LINES = 150  # of README.md
LARGEST_PICTURE = 200_000  # bytes
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

# Commands that no test runs, and why. Each was run by hand.
BY_HAND = {
    "pip install -e .": "installs into a new environment",
    "bash recipes/test.sh": "runs the tests",
    "mkdir -p ~/review-sound": "for Label Studio",
    "cp -r work/review/audio/.": "for Label Studio",
    "export": "for Label Studio",
    "label-studio start": "a program of others",
    "python recipes/tree.py": "test_the_tree_is_made_from_the_modules runs it with --check",
    "python recipes/precision_coverage.py": "needs the whole work folder of the default run",
    "python recipes/known_truth_rows.py": "tests/labels/test_known_truth.py runs it on the files",
    "python tests/releases/clients.py": "tests/releases/test_clients.py runs it with the tools that are installed",
    "python tests/models/as_published.py": "tests/models/test_as_published.py runs its parts; it takes 6 minutes",
    ".venv/bin/python -m ruff": ".ci/run runs it",
    "cd ontology && sha256sum --check": "tests/scores/test_class_map.py compares the checksums",
    "python -m pseudolabel.bench": "tests/benchmarks runs each with few clips",
    "python -m pseudolabel.average weights": "tests/test_average.py runs it; this one needs 30 epochs",
    "python -m pseudolabel.evaluate --ablation": "tests/test_evaluate_options.py runs it on runs of several rows",
    "python -m pseudolabel.evaluate --betas": "tests/test_evaluate_options.py runs it on runs of several exponents",
    "python -m pseudolabel.evaluate combine": "tests/test_evaluate.py runs it on evaluated folders",
    "python -m pseudolabel.train import": "tests/models/test_published.py runs it on files as they were published",
    "python recipes/ontology_tables.py": "tests/test_ontology_tables.py runs it on files as they were published",
}
IN_TEXT = r"(?:[A-Z_]+=\S+ )*(?:python -m pseudolabel|python (?:recipes|tests)/|bash recipes/|pip install |cd )"
NO_COMMANDS = re.compile(r"\$ |pseudolabel/|[0-9a-f]{64}  ")  # a session, a tree, checksums
RECIPE = re.compile(r"((?:[A-Z_]+=\S+ )*)bash (recipes/\w+\.sh)(?: --dry-run)?$")  # tests/test_recipe*.py run each


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return FENCE.sub("", text_of(page))


def named(paths) -> list:
    return [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in paths]


# ---- what a page is made of -----------------------------------------------------------------------------------------


def test_readme_is_short():
    assert len(text_of(README).splitlines()) <= MOST_LINES


def cells(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) - 1


@pytest.mark.parametrize("page", named(PAGES))
def test_tables_have_rows_of_one_width(page):
    tables = re.findall(r"(?:^ *\|.*\|\n)+", prose(page), flags=re.MULTILINE)
    for table in tables:
        rows = table.strip().splitlines()
        assert len(rows) > 2 and re.fullmatch(r" *\|(?: *:?-+:? *\|)+", rows[1]), rows[:2]
        assert {cells(row) for row in rows} == {cells(rows[0])}, rows[0]
    assert len(re.findall(r"^ *\|.*$", prose(page), flags=re.MULTILINE)) == sum(t.count("\n") for t in tables)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"", prose(page))
    for link in map("".join, links):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_and_picture_is_linked_from_somewhere():
    links = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in map("".join, re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text_of(page)))
    }
    assert {path for path in DOCS.rglob("*.*") if path.is_file()} <= links


def test_pictures_are_small():
    for path in (DOCS / "pictures").iterdir():
        assert path.suffix in (".svg", ".png") and path.stat().st_size < LARGEST_PICTURE, path


@pytest.mark.parametrize("page", named(PAGES))
def test_files_of_the_checkout_that_a_page_names_exist(page):
    names = re.findall(r"`((?:pseudolabel|recipes|tests|ontology|docs)/[\w./]*)`", prose(page))
    names += [f"recipes/{name}" for name in re.findall(r"`(\w+\.sh)`", prose(page))]
    assert [name for name in names if not (ROOT / name).exists()] == []


# ---- what it says of the package ------------------------------------------------------------------------------------


def rooms() -> tuple[str, ...]:
    """Return the rooms in the order of their imports, as tests/test_house.py lists them."""
    return program("tree").rooms_in_order()


def program(name: str):
    """Return a program of recipes/ as a module."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", ROOT / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(page: Path, heading: str) -> str:
    return text_of(page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_verb_table_of_the_readme_is_that_of_the_package():
    assert re.findall(r"^\| `(\w+)` \|", section(README, "Verbs"), flags=re.MULTILINE) == list(cli.VERBS)


def test_readme_and_changes_name_the_version_of_the_package():
    assert f"title={{pseudolabel {pseudolabel.__version__}}}" in text_of(README)
    assert f"\n## {pseudolabel.__version__}\n" in text_of(DOCS / "changes.md")


def test_rooms_of_the_readme_are_those_of_the_package():
    assert tuple(re.findall(r"^  (\w+)/ ", section(README, "Rooms"), flags=re.MULTILINE)) == rooms()
    packages = {path.parent.name for path in (ROOT / "pseudolabel").glob("*/__init__.py")}
    assert packages == set(rooms())


def test_the_tree_is_made_from_the_modules():
    assert program("tree").main(["--check"]) == 0, "run python recipes/tree.py"


def test_every_form_of_label_lists_has_a_row():
    from pseudolabel.labels.readers import FORMATS

    table = section(DOCS / "files.md", "Label lists that can be read")
    rows = re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE)
    assert set(re.findall(r"`(\w[\w-]*)`", " ".join(rows))) == set(FORMATS)


def test_every_heading_of_label_lists_is_named():
    from pseudolabel.labels import cells

    table = section(DOCS / "files.md", "Label lists that can be read").partition("| column | headings |")[2]
    for row, accepted in {
        "clips": cells.CLIPS,
        "labels": cells.LABELS,
        "start": cells.STARTS,
        "end": cells.ENDS,
    }.items():
        (named,) = re.findall(rf"^\| {row} \| (.*) \|$", table, flags=re.MULTILINE)
        names = re.findall(r"`([^`]+)`", named)
        forms = {form for name in names for form in {name.replace("(s)", ""), name.replace("(s)", "s")}}
        assert {cells.heading(form) for form in forms} == set(accepted), row


def test_every_recipe_has_a_row():
    table = section(DOCS / "architecture.md", "The recipes")
    assert {path.name for path in (ROOT / "recipes").glob("*.*")} == set(re.findall(r"`(\w+\.(?:sh|py))`", table))


# ---- commands -------------------------------------------------------------------------------------------------------


def commands_of(page: Path) -> Iterator[str]:
    """Yield the commands of a page: the lines of its blocks without a language, and commands within the text."""
    for _, language, block in FENCE.findall(text_of(page)):
        lines = [] if language or NO_COMMANDS.match(block) else re.sub(r"\\\n +", "", block).splitlines()
        yield from filter(None, (re.sub(r"(^|\s{2,})#.*$", "", line).strip() for line in lines))
    for code in re.findall(rf"`({IN_TEXT}[^`]*)`", re.sub(r"\s+", " ", prose(page))):
        if not re.search(r"\b[A-Z]{2,}\b(?![=.])", code):  # FILE, DIR: no command yet
            yield code


def is_of(command: str, start: str) -> bool:
    return command == start or command.startswith(f"{start} ")


COMMANDS = [(page, command) for page in PAGES for command in commands_of(page)]
OF_VERBS = [(page, command) for page, command in COMMANDS if "-m pseudolabel." in command]
QUICK_START_A = list(commands_of(README))[:6]
DRY = [
    pytest.param(command, id=f"{page.stem}: {command}")
    for page, command in OF_VERBS
    if command not in QUICK_START_A and not any(is_of(command, start) for start in BY_HAND)
]


def test_every_command_is_run_by_a_test_or_by_hand():
    for page, command in COMMANDS:
        recipe = RECIPE.match(command)
        known = (page, command) in OF_VERBS or recipe or any(is_of(command, start) for start in BY_HAND)
        assert known, f"{page.name}: {command}"
        if recipe:
            sourced = (recipe[2], "recipes/common.sh", "recipes/psla.sh")
            script = "".join(text_of(ROOT / name) for name in sourced)
            for setting in re.findall(r"([A-Z_]+)=", recipe[1]):
                assert re.search(rf"\b{setting}=\$\{{{setting}", script), f"{recipe[2]} has no setting {setting}"
    said = [command for _, command in COMMANDS]
    assert [start for start in BY_HAND if not any(is_of(command, start) for command in said)] == [], "not shown"


def test_the_two_commands_of_the_readme_are_recipes_that_tests_run():
    assert "bash recipes/psl_2s.sh" in list(commands_of(README)) and "bash recipes/test.sh" in list(commands_of(README))


@pytest.fixture(scope="module")
def assumed(tmp_path_factory) -> Path:
    """A folder with all files that the pages name: a work folder of 48 scenes, and what users bring."""
    folder = tmp_path_factory.mktemp("assumed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_work()
        bring_files(Path("work"))
    return folder


def run(*argv: object) -> int:
    return cli.main([str(word) for word in argv])


def make_work() -> None:
    """Run the verbs on a small corpus, in the current folder."""
    sizes = ("--scenes", 48, "--balanced", 16, "--validation", 8, "--eval", 8, "--duration", 4, "--sources", 10)
    network = ("--model-options", "width=0.1", "--epochs", 1, "--batch-size", 8, "--clip-seconds", 4)
    assert run("simulate", *sizes, "--processes", 1) == 0
    assert run("prepare", "--processes", 1) == 0
    assert run("train", "--row", "teacher", *network, "--no-validation", "--keep-checkpoints", "all") == 0
    assert run("score", "--windows", "clip", "2s") == 0
    for name in ("mean", "25p"):
        shutil.rmtree("work/enhanced-mean", ignore_errors=True)
        assert run("enhance", "--threshold", name, "--soft") == 0
        assert run("release", "make", "--enhanced", f"work/enhanced-{name}") == 0
    calibrated = ("--threshold", "precision:0.7", "--soft-windows", "2s", "--out", "work/calibrated")
    assert run("enhance", *calibrated) == 0
    assert run("review", "page", "--budget", 10, "--label-studio") == 0
    Path("Downloads").mkdir()
    for name in ("judgements", "anna", "ben", "Downloads/judgements-0"):
        judge(Path("work/review"), name)
    judge_in_label_studio(Path("work/review"))
    assert run("review", "estimate", "judgements.csv", "--target-precision", 0.5) == 0
    copies = {"psl_2s-seed0": ("psl_2s", None), **{f"teacher-fold{i}": ("teacher", f"{i}/2") for i in (1, 2)}}
    for name, (row, fold) in copies.items():
        path = shutil.copytree(Path("work/runs/teacher"), Path("work/runs") / name) / "run.json"
        record = json.loads(path.read_text()) | {"row": row}
        path.write_text(json.dumps(record | {"options": record["options"] | {"fold": fold}}))


def judge(page: Path, name: str) -> None:
    """Write NAME.csv as the page downloads it: every item is right."""
    header = ["page", "item", "clip_id", "class_id", "error", "decision", "judge"]
    same = {"page": json.loads((page / "sample.json").read_text())["page"], "decision": "right", "judge": name}
    rows = [row | same for row in read_csv(page / "sample.csv")]
    write_csv(Path(f"{name}.csv"), [header, *([row[column] for column in header] for row in rows)])


def judge_in_label_studio(page: Path) -> None:
    """Write export.json as Label Studio exports the tasks of a page: every item is right."""
    annotation = {"completed_by": 1, "result": [{"type": "choices", "value": {"choices": ["right"]}}]}
    tasks = json.loads((page / "label_studio.json").read_text())
    Path("export.json").write_text(json.dumps([task | {"annotations": [annotation]} for task in tasks]))


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: list[list]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def bring_files(work: Path) -> None:
    """Write what users have, in the current folder: lists, scores, recordings."""
    for name in ("labels.csv", "eval.csv"):
        shutil.copy(work / name, name)
    shutil.copy(work / "vocabulary.csv", "other.csv")
    write_csv(Path("esc50.csv"), [["filename", "category"], ["c1.wav", "dog"], ["c2.wav", "rain"]])
    for folder in ("recordings", "audioset/audio", "field-recordings"):
        shutil.copytree(work / "scenes", folder)
    bring_audioset(work)
    bring_parquet(work)
    write_csv(Path("segments.csv"), [["file", "start", "end"], [next(Path("field-recordings").iterdir()).name, 0, 2]])
    (work / "eval-enhanced").mkdir()
    shutil.copy(work / "eval.csv", work / "eval-enhanced/labels.csv")
    bring_scores(work)


def bring_audioset(work: Path) -> None:
    """Write the lists of the small corpus in AudioSet's and in AudioSet-R's form."""
    for source, name in {"labels.csv": "unbalanced_train_segments.csv.xz", "eval.csv": "eval_segments.csv"}.items():
        lines = [f'{clip_id}, 0.000, 10.000, "{labels}"\n' for clip_id, labels in with_commas(work / source)]
        with lzma.open(name, "wt") if name.endswith(".xz") else open(name, "w") as file:
            file.writelines(lines)
    with lzma.open("audioset_r_eval.tsv.xz", "wt") as file:
        file.writelines(f"{clip_id}\t{labels}\n" for clip_id, labels in with_commas(work / "eval.csv"))


def bring_parquet(work: Path) -> None:
    """Write the recordings and labels of the small corpus as data sets of the Hugging Face hub have them."""
    rows = [
        {"clip_id": row["clip_id"], "audio": {"bytes": path.read_bytes(), "path": path.name},
         "labels": row["labels"].split(";")}
        for row in read_csv(work / "labels.csv")
        for path in (work / "scenes").glob(f"{row['clip_id']}.*")
    ]  # fmt: skip
    Path("data").mkdir()
    for part, some in enumerate((rows[:20], rows[20:])):
        pq.write_table(pa.Table.from_pylist(some), f"data/bal_train{part:02d}.parquet")


def with_commas(path: Path) -> list[tuple[str, str]]:
    return [(row["clip_id"], row["labels"].replace(";", ",")) for row in read_csv(path)]


def bring_scores(work: Path) -> None:
    """Write the scores of another model in every form, and stores to merge and to average."""
    from pseudolabel.labels.vocabulary import Vocabulary
    from pseudolabel.scores.store import ScoreStore

    store, rng = ScoreStore.open(work / "scores.h5"), np.random.default_rng(0)
    scores = np.array(store.clip_scores())
    np.save("scores.npy", scores)
    Path("clips.txt").write_text("".join(f"{clip_id}\n" for clip_id in store.clip_ids))
    Path("classes.txt").write_text("".join(f"{class_id}\n" for class_id in store.class_ids))
    write_csv(Path("predictions.csv"), [["clip_id", *store.class_ids], *zip_rows(store.clip_ids, scores)])
    Path("ids.txt").write_text("c1\nc2\n")
    write_csv(Path("lengths.csv"), [["clip_id", "seconds"], ["c1", 10], ["c2", 10]])
    answers = {"clip": rng.random((2, 527), np.float32)}
    ScoreStore.write("esc50.h5", ["c1", "c2"], Vocabulary.load("audioset").class_ids, answers)
    for name, shape in {"a": (2, 527), "b": (2, 5, 527), "windows": (2, 9, 527)}.items():
        np.save(f"{name}.npy", rng.random(shape, np.float32))
    half = len(store.clip_ids) // 2
    everything = slice(None)
    for name, rows in {"a": slice(half), "b": slice(half, None), "teacher": everything, "student": everything}.items():
        ScoreStore.write(f"{name}.h5", store.clip_ids[rows], store.class_ids, {"clip": scores[rows]})


def zip_rows(clip_ids, scores: np.ndarray) -> list[list]:
    return [[clip_id, *row] for clip_id, row in zip(clip_ids, scores.tolist(), strict=True)]


def words_of(command: str) -> list[str]:
    """Return the verb and the options of a command as the shell would, for the first value of a loop."""
    if loop := re.match(r"for (\w+) in (\w+) .*; do (.*); done$", command):
        command = loop[3].replace(f"${loop[1]}", loop[2])
    verb, *words = shlex.split(command.partition("-m pseudolabel.")[2])
    return [
        verb,
        *(path for word in map(expanduser, words) for path in (sorted(glob.glob(word)) if "*" in word else [word])),
    ]


@pytest.mark.parametrize("command", DRY)
def test_a_command_that_a_page_shows_runs(command, assumed, monkeypatch, capsys):
    monkeypatch.chdir(assumed)
    monkeypatch.setenv("HOME", str(assumed))
    verb, *words = words_of(command)
    again = [] if "--add" in words else ["--overwrite"]
    assert run(verb, *words, "--dry-run", *again) == 0, capsys.readouterr().err


def test_quick_start_a_runs_as_it_stands(assumed, tmp_path, monkeypatch, capsys):
    for name in ("labels.csv", "scores.npy", "clips.txt", "classes.txt"):
        shutil.copy(assumed / name, tmp_path)
    shutil.copytree(assumed / "recordings", tmp_path / "recordings")
    (tmp_path / "Downloads").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in QUICK_START_A:
        assert run(*words_of(command)) == 0, capsys.readouterr().err
        if "review page" in command:
            judge(Path("work/review"), "Downloads/judgements-0")
    assert run("release", "verify", "work/release-25p") == 0


def test_the_error_that_a_page_shows_is_the_one_that_is_made(assumed, monkeypatch, capsys):
    sessions = [block for page in PAGES for _, _, block in FENCE.findall(text_of(page)) if block.startswith("$ ")]
    monkeypatch.chdir(assumed)
    for session in sessions:
        command, _, said = session.removeprefix("$ ").partition("\n")
        assert run(*words_of(command)) == 2
        assert capsys.readouterr().err == said
    assert sessions


def test_library_example_runs_as_it_stands(assumed, monkeypatch, capsys):
    (code,) = (block for _, language, block in FENCE.findall(text_of(README)) if language == "python")
    monkeypatch.chdir(assumed)
    exec(compile(code, "README.md", "exec"), {})
    assert re.match(r"[1-9]\d* labels added; the first: \[\{'clip_id': ", capsys.readouterr().out)
