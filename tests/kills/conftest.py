"""What the kill tests share: commands that are killed at a chosen moment, and folders compared path by path."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

OF_THE_RUN = (  # values in JSON that tell when, where and how a run went, not what it made
    "finished", "host", "commit", "seconds", "train_seconds", "waiting_share", "clips_made", "pieces_per_s",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended: `status` is its exit code, -9 where SIGKILL ended it; `calls` are those of its moments."""

    status: int | None
    text: str
    calls: list[str]
    seconds: float


class Forks:
    """Starts commands in children of a process that has imported everything; see forking.py."""

    def __init__(self, folder: Path):
        self.folder, self.n = folder, 0
        program = Path(__file__).with_name("forking.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}
        self.process = subprocess.Popen(
            [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            cwd=folder,
        )  # fmt: skip
        assert json.loads(self.process.stdout.readline()) == "ready"

    def ask(self, **request: object) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, here: Path, *argv: object, **how: object) -> dict:
        """Start `pseudolabel.ARGV` in the folder `here`; calls below its parent are its moments."""
        self.n += 1
        out, calls = self.folder / f"{self.n}.out", self.folder / f"{self.n}.calls"
        for path in (out, calls):  # a child that is killed at once opens neither
            path.touch()
        argv = [f"pseudolabel.{argv[0]}", *map(str, argv[1:])]
        paths = {"cwd": str(here), "root": str(here.parent), "out": str(out), "calls": str(calls)}
        return {**self.ask(do="start", argv=argv, **paths, **how), "out": out, "calls": calls}

    def wait(self, started: dict, **how: object) -> Ended:
        answer = self.ask(do="wait", pid=started["pid"], **how)
        text, calls = (started[name].read_text(errors="replace") for name in ("out", "calls"))
        return Ended(answer["status"], text, calls.splitlines(), answer["now"] - started["started"])

    def run(self, here: Path, *argv: object, **how: object) -> Ended:
        return self.wait(self.start(here, *argv, **how))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture(scope="session")
def forks(tmp_path_factory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()


def without_times(value: object) -> object:
    """Return a JSON value without what differs between two runs that made the same."""
    if isinstance(value, dict):
        if value.get("name") == "history.csv" or "history.csv" in value:  # its checksum: it tells the seconds
            value = {name: one for name, one in value.items() if name not in ("history.csv", "sha256", "bytes")}
        return {name: without_times(one) for name, one in value.items() if name not in OF_THE_RUN}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def content(path: Path) -> object:
    """Return what two uninterrupted runs of one command write alike."""
    if path.suffix == ".pt":  # checkpoints tell the seconds of their epochs
        return "checkpoint"
    data = path.read_bytes()
    if path.suffix == ".json" and data:
        return without_times(json.loads(data))
    if path.name == "history.csv":
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        return [{name: value for name, value in row.items() if name not in OF_THE_RUN} for row in rows]
    return data


@dataclass(frozen=True)
class Tree:
    """{path below a folder: what lies there}: bytes of a file, the target of a link, None for a folder."""

    raw: dict[str, object]
    alike: dict[str, object]

    @classmethod
    def of(cls, folder: Path) -> Tree:
        raw, alike = {}, {}
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(parent, name)
                key = path.relative_to(folder).as_posix()
                if path.is_symlink():
                    raw[key] = alike[key] = ("link", os.readlink(path))
                elif path.is_dir():
                    raw[key] = alike[key] = None
                else:
                    raw[key], alike[key] = path.read_bytes(), content(path)
        return cls(raw, alike)


LONGEST = "simulate --overwrite"  # names dozens of files: among the slow tests
OLD_S = 7200  # age of what lies about: nobody may take it for what is being written
CPU = ("--device", "cpu", "--threads", 1)
SIMULATE = ("simulate", "--scenes", 10, "--validation", 4, "--eval", 4, "--sources", 7, "--duration", 1, "--classes",
            "Hoot", "Purr", "Rain on surface", "--processes")  # fmt: skip
TRAIN = ("train", "--row", "teacher", "--model", "mobilenetv2", "--model-options", "width=.1", "last_channels=64",
         "input_norm=batch", "--front-end", "hop=640", *CPU, "--batch-size", 4, "--clip-seconds", 1, "--epochs", 2,
         "--no-validation", "--keep-checkpoints", 1)  # fmt: skip
IMPORT = ("score", "import", "scores.npy", "--ids", "ids.txt", "--classes", "work/vocabulary.csv")
LISTS = ("vocabulary.csv", "labels.csv", "validation.csv", "eval.csv", "truth.csv", "clips.csv")
SCENES = ("scenes", *LISTS, "balanced.csv")
PREPARED = ("work/clips.h5", "work/clips.run.json", "work/skipped.csv", "work/missing.csv")
SCORED = tuple(f"work/scores.{name}" for name in ("h5", "run.json", "missing.csv"))
CORPUS = tuple(f"work/{name}" for name in (
    "clips.csv", "sources.csv", "vocabulary.csv", "truth.csv", "events.csv", "labels.csv", "balanced.csv",
    "validation.csv", "eval.csv", "dropped.csv", "annotator.csv", "skipped_sounds.csv", "run.json", "scenes",
    "scenes/*"))  # fmt: skip
RUN = ("work/runs", "work/runs/*")


def folder(name: str) -> tuple[str, ...]:
    return f"work/{name}", f"work/{name}/*"


@dataclass(frozen=True)
class Case:
    """A command: which files of the corpus it finds in WORK, what it writes, and what was run there before.

    Args:
        growing: outputs that are there before they are finished, and belong to the run as long as it is not.
    """

    name: str
    argv: tuple
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    earlier: tuple[tuple, ...] = ()
    growing: tuple[str, ...] = ()


def with_overwrite(case: Case, *earlier: tuple) -> Case:
    """Return the case of the same command over an older output, which was made in another way."""
    argv = (*case.argv, "--overwrite")
    return Case(f"{case.name} --overwrite", argv, case.inputs, case.outputs, earlier, case.growing)


PREPARE = Case("prepare", ("prepare", "--processes", 1), SCENES, PREPARED)
TRAINING = Case("train", TRAIN, ("clips.h5", *LISTS), RUN,
                growing=("work/runs/teacher/history.csv", "work/runs/teacher/checkpoints*"))  # fmt: skip
SCORE = Case("score", ("score", *CPU, "--windows", "clip", "1s"), ("clips.h5", *LISTS, "runs"), SCORED)
IMPORTING = Case("score import", IMPORT, LISTS, SCORED)
ENHANCE = Case("enhance", ("enhance", "--threshold", "25p", "--soft"), ("scores.h5", *LISTS), folder("enhanced-25p"))
REVIEWED = ("clips.h5", "scores.h5", *LISTS, "enhanced-25p")
REVIEW = Case("review", ("review", "--budget", 24), REVIEWED, folder("review"))
RELEASE = Case("release", ("release",), ("scores.h5", *LISTS, "enhanced-25p"), folder("release-25p"))
EVALUATE = Case("evaluate", ("evaluate", *CPU), ("clips.h5", *LISTS, "runs/teacher", "enhanced-25p"),
                (*folder("evaluation"), "work/results.md"))  # fmt: skip
AVERAGE = Case("average", ("average", "work/runs/teacher", "work/runs/b", "--out", "work/runs/ab", *CPU),
               ("clips.h5", *LISTS, "runs"), folder("runs/ab"))  # fmt: skip
ENSEMBLE = Case("average scores", ("average", "scores", "work/scores.h5", "work/other.h5"),
                ("scores.h5", "other.h5"),
                tuple(f"work/ensemble.{name}" for name in ("h5", "run.json", "missing.csv")))  # fmt: skip
MERGE = Case("score merge", ("score", "merge", "work/scores.h5", "work/other.h5", "--out", "work/merged.h5"),
             ("scores.h5", "other.h5"), tuple(f"work/merged.{name}" for name in ("h5", "run.json")))  # fmt: skip
BALANCE = Case("balance", ("balance", "--rule", "sum", "max", "--validation-clips", 1), LISTS, folder("balance"))
PUBLISHED = Case(
    "train import",
    ("train", "import", "psl.pt", "--out", "work/runs/psl", "--vocabulary", "three.csv"),
    (),
    (*RUN[:1], *folder("runs/psl")),
)
CASES = (
    Case("simulate", (*SIMULATE, 1), (), CORPUS),
    with_overwrite(Case("simulate", (*SIMULATE, 1), (), CORPUS), (*SIMULATE, 1, "--seed", 5)),
    PREPARE,
    with_overwrite(PREPARE, (*PREPARE.argv, "--limit-seconds", 0.5)),
    Case(
        "prepare --add", (*PREPARE.argv, "--add"), SCENES, PREPARED, (("prepare", "--processes", 1, "--audio", "some"),)
    ),
    TRAINING,
    with_overwrite(TRAINING, (*TRAIN, "--learning-rate", 0.01)),
    SCORE,
    with_overwrite(SCORE, (*SCORE.argv, "--batch-size", 1)),
    IMPORTING,
    with_overwrite(IMPORTING, (*IMPORT, "--name", "older")),
    AVERAGE,
    with_overwrite(AVERAGE, (*AVERAGE.argv, "--weights", 1, 2)),
    ENSEMBLE,
    with_overwrite(ENSEMBLE, (*ENSEMBLE.argv, "--weights", 1, 2)),
    ENHANCE,
    with_overwrite(ENHANCE, (*ENHANCE.argv, "--floor", 0.7)),
    Case("enhance sweep", ("enhance", "sweep", "mean", "25p"), ("scores.h5", *LISTS), folder("sweep-mean-25p")),
    Case(
        "enhance apply",
        ("enhance", "apply", "work/reviewed.csv"),
        (*LISTS, "reviewed.csv"),
        folder("enhanced-reviewed"),
    ),
    Case(
        "enhance undo",
        ("enhance", "undo", "work/enhanced-25p/ledger.parquet"),
        (*LISTS, "enhanced-25p"),
        ("work/labels-undone.csv",),
    ),
    MERGE,
    with_overwrite(MERGE, (*MERGE.argv, "--name", "older")),
    BALANCE,
    with_overwrite(BALANCE, ("balance",)),
    REVIEW,
    with_overwrite(REVIEW, ("review", "--budget", 5)),
    Case(
        "review estimate",
        ("review", "estimate", "work/judged.csv"),
        (*REVIEWED, "review", "judged.csv"),
        folder("review-result"),
    ),
    RELEASE,
    with_overwrite(RELEASE, ("release", "--title", "older")),
    Case(
        "release diff",
        ("release", "diff", "work/labels.csv", "work/truth.csv", "--out", "work/diff"),
        LISTS,
        folder("diff"),
    ),
    Case("release model", ("release", "model", "work/runs/teacher"), ("runs/teacher",), folder("release-teacher")),
    EVALUATE,
    with_overwrite(EVALUATE, ("evaluate", *CPU, "--metrics", "map")),
    PUBLISHED,
)


# ---- the corpus that commands find ------------------------------------------------------------------------------


def write_published(path: Path) -> None:
    """Write weights as PSL published theirs, of three classes."""
    import torch
    import torchvision

    network = torchvision.models.mobilenet_v2()
    network.features[0][0] = torch.nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    network.classifier = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(1280, 3))
    torch.save(network.state_dict(), path)


def write_answers(here: Path) -> None:
    """Write random answers for the training clips as another model's."""
    lines = (here / "work" / "labels.csv").read_text().splitlines()[1:]
    (here / "ids.txt").write_text("".join(f"{line.partition(',')[0]}\n" for line in lines))
    n_classes = len((here / "work" / "vocabulary.csv").read_text().splitlines()) - 1
    np.save(here / "scores.npy", np.random.default_rng(0).random((len(lines), n_classes), np.float32))


def write_decisions(here: Path) -> None:
    """Judge the page of the corpus: every second item is right."""
    sample = here / "work" / "review"
    page = json.loads((sample / "sample.json").read_text())["page"]
    with open(sample / "sample.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    judged = [("page", "item", "clip_id", "class_id", "decision", "judge")]
    reviewed = [("clip_id", "class_id", "error", "decision")]
    for number, row in enumerate(rows):
        decision = ("right", "wrong")[number % 2]
        judged.append((page, row["item"], row["clip_id"], row["class_id"], decision, "anna"))
        reviewed.append((row["clip_id"], row["class_id"], row["error"], decision))
    for name, lines in (("judged.csv", judged), ("reviewed.csv", reviewed)):
        with open(here / "work" / name, "w", newline="") as file:
            csv.writer(file).writerows(lines)


@pytest.fixture(scope="session")
def corpus(forks, tmp_path_factory) -> Path:
    """A folder in which every verb has run once; beside `work` the files that cases name."""
    here = tmp_path_factory.mktemp("corpus") / "here"
    here.mkdir()

    def run(*argv: object) -> None:
        ended = forks.run(here, *argv)
        assert ended.status == 0, (argv, ended.text)

    run(*SIMULATE, 1)
    run(*PREPARE.argv)
    run(*TRAIN)
    run(*TRAIN, "--out", "work/runs/b")
    write_answers(here)
    run(*IMPORT)
    shutil.copy(here / "work" / "scores.h5", here / "work" / "other.h5")
    run("enhance", "--threshold", "25p")
    run(*REVIEW.argv)
    write_decisions(here)
    write_published(here / "psl.pt")
    (here / "three.csv").write_text("class_id,name\n/m/09x0r,Speech\n/m/04rlf,Music\n/m/0bt9lr,Dog\n")
    scenes = sorted((here / "work" / "scenes").iterdir())
    (here / "some").mkdir()
    for scene in scenes[::2]:
        shutil.copy(scene, here / "some")
    return here


def lay_about(trial: Path, outputs: tuple[str, ...]) -> None:
    """Write files of a user that look like what a run leaves, in every folder that the command writes into."""
    outside = trial / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("not in this work folder")
    for output in {output for output in outputs if "*" not in output}:
        path = trial / "here" / output
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "notes.txt").write_text("mine")
        for name, kind in ((f".{path.name}.mine.tmp", "file"), (f".{path.name}.77.tmp", "file"),
                           (f".{path.name}.123.tmp", "folder"), (f".{path.name}.123.old", "folder"),
                           (f"{path.name}.parts-old", "folder"), (f".{path.name}.a.tmp", "link"),
                           (f".{path.name}.456.tmp", "link")):  # fmt: skip
            mine = path.with_name(name)
            if kind == "link":
                mine.symlink_to(outside)
                continue
            if kind == "folder":
                mine.mkdir()
                mine /= "thesis.txt"
            mine.write_text("mine")
            past = time.time() - OLD_S
            for aged in (mine, mine.parent if kind == "folder" else mine):
                os.utime(aged, (past, past))
    past = time.time() - OLD_S
    os.utime(outside, (past, past))


@dataclass(frozen=True)
class Scene:
    """What a case starts from, and what an uninterrupted run makes of it."""

    case: Case
    start: Path
    before: Tree
    after: Tree
    calls: list[str]
    states: Path
    seconds: float

    def copy_start(self, target: Path) -> Path:
        return copy(self.start, target)

    def read(self, folder: Path) -> Tree:
        return Tree.of(folder)

    def differences(self, folder: Path) -> list[str]:
        """Return a line for each path that is not what an uninterrupted run makes."""
        found, expected = Tree.of(folder).alike, self.after.alike
        lines = [f"{path} is gone" for path in sorted(expected.keys() - found.keys())]
        lines += [f"{path} was left" for path in sorted(found.keys() - expected.keys())]
        both = sorted(found.keys() & expected.keys())
        return lines + [f"{path} differs at the end" for path in both if found[path] != expected[path]]


@pytest.fixture(scope="session")
def scenes() -> dict[str, Scene]:
    """{name of a case: its scene}, each made when it is first needed."""
    return {}


@pytest.fixture
def scene(case: Case, scenes, corpus, forks, tmp_path_factory) -> Scene:
    if case.name not in scenes:
        scenes[case.name] = set_scene(case, corpus, forks, tmp_path_factory.mktemp("scene"))
    return scenes[case.name]


@pytest.fixture
def plain_scene(scene) -> Scene:
    """The scene of a command over no older output."""
    return scene


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test of a `scene` with every command."""
    cases = [case for case in CASES if "--overwrite" not in case.argv or "plain_scene" not in metafunc.fixturenames]
    if "case" in metafunc.fixturenames:
        slow = {LONGEST: pytest.mark.slow}
        marked = [pytest.param(case, marks=slow.get(case.name, ()), id=case.name) for case in cases]
        metafunc.parametrize("case", marked)


def set_scene(case: Case, corpus: Path, forks, folder: Path) -> Scene:
    start, work = folder / "start", folder / "start" / "here" / "work"
    work.mkdir(parents=True)
    for path in corpus.iterdir():
        if path.name in {part for argv in (case.argv, *case.earlier) for part in argv}:
            copy(path, work.parent / path.name)
    for name in case.inputs:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        copy(corpus / "work" / name, work / name)
    for argv in case.earlier:
        ended = forks.run(work.parent, *argv)
        assert ended.status == 0, ended.text
    lay_about(start, case.outputs)
    before, straight = Tree.of(start), copy(start, folder / "straight")
    (folder / "states").mkdir()
    ended = forks.run(straight / "here", *case.argv, states=str(folder / "states"), visible=True)
    assert ended.status == 0, ended.text
    return Scene(case, start, before, Tree.of(straight), ended.calls, folder / "states", ended.seconds)


def copy(source: Path, target: Path) -> Path:
    if source.is_file():
        return Path(shutil.copy2(source, target))
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target, symlinks=True))
