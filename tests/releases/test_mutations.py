"""Verify after mutations: a file of a release is changed, and a forger makes the checksums fit, in three degrees."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from pseudolabel.enhance import main as enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.release import main as release
from pseudolabel.releases import folder as files
from pseudolabel.releases.card import DOCUMENTS
from pseudolabel.releases.facts import Document, Facts
from pseudolabel.scores.store import ScoreStore

ONTOLOGY = """class_id,name,child_ids,restrictions
/m/animal,Animal,/m/dog;/m/wolf,
/m/dog,Dog,/m/bark,
/m/wolf,Wolf,/m/howl,
/m/bark,Bark,,
/m/howl,Howl,,
"""
NAMES = ("animal", "dog", "wolf", "bark", "howl")
FIVE = Vocabulary(
    "five", tuple(f"/m/{name}" for name in NAMES), tuple(map(str.title, NAMES)), tuple(f"/m/{name}" for name in NAMES)
)
OTHER_VALUES = (None, True, False, 0, 1, -1, 1.5, 1e308, 10**30, "", "x", [], [1], {}, {"x": 1}, "\ud7ff", "1", [[[]]])
COUNTED = ("counts", "by_class", "weak_classes", "wav")  # facts that cannot be told
FREE = {"missing.csv": "reason", "classes.csv": "ontology_id"}  # columns that nothing else in a release says
WORDS = tuple(name for name in DOCUMENTS if name not in ("run.json", "SHA256SUMS"))
SEALS = ("sums", "record", "all")  # how far a forger goes: SHA256SUMS, run.json's checksums too, the documents too


def make(work: Path, seed: int) -> Path:
    """Return a release with soft targets, of random labels and scores of 10 s clips."""
    work.mkdir()
    rng = np.random.default_rng(seed)
    (work / "ontology.csv").write_text(ONTOLOGY)
    FIVE.write(work / "vocabulary.csv")
    clips = [f"c{i:02d}" for i in range(24)]
    rows = ((clip, ",".join(np.array(FIVE.class_ids)[rng.random(5) < 0.3]) or "/m/dog") for clip in clips)
    lines = (f'{clip}, 30.000, 40.000, "{labels}"\n' for clip, labels in rows)
    (work / "segments.csv").write_text("# Segments\n# n\n# YTID, start_seconds, end_seconds, labels\n" + "".join(lines))
    windows = rng.random((22, 5, 5)).astype(np.float16)
    ScoreStore.write(work / "scores.h5", clips[:22], FIVE.class_ids, {"clip": windows.mean(axis=1), 2: windows})
    common = ["--work", str(work), "--labels", str(work / "segments.csv"), "--format", "audioset"]
    options = ["--ontology", str(work / "ontology.csv"), "--evidence", "2s", "--threshold", "25p"]
    assert enhance([*common, *options]) == 0
    assert release([*common, "--soft", "float16", "--soft-windows", "clip", "2s"]) == 0
    return work / "release-25p"


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("mutations")
    return make(folder / "one", 3), make(folder / "other", 4)


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def flip_inside(path: Path, rng: random.Random) -> None:
    """Flip a bit of what a packed file holds; of others as `flip`."""
    if path.suffix != ".gz":
        return flip(path, rng)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(gzip.compress(bytes(content), mtime=0))


def change_line(path: Path, rng: random.Random) -> None:
    """Repeat, remove or exchange lines, packed or not."""
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        lines.insert(one, lines[other])
    else:
        del lines[one]
    content = b"\n".join(lines)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def change_value(path: Path, rng: random.Random) -> None:
    """Put a value of another kind into a JSON file, or change a digit of other text."""
    if path.suffix != ".json":
        return flip_inside(path, rng)
    content = json.loads(path.read_text(encoding="utf-8"))
    places = []

    def walk(value: object) -> None:
        if isinstance(value, dict | list):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                places.append((value, key))
                walk(value[key])

    walk(content)
    parent, key = rng.choice(places)
    parent[key] = rng.choice(OTHER_VALUES)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def make_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "inside.txt").write_text("x")


def make_link(path: Path, rng: random.Random) -> None:
    elsewhere = path.parent.parent / f"elsewhere{rng.random()}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


MUTATIONS = (flip, flip, flip_inside, flip_inside, cut, change_line, change_line, change_value, change_value,
             change_value, make_folder, make_link)  # fmt: skip


def seal(folder: Path, how_far: str) -> None:
    """Make checksums fit, as far as the files can still be read."""
    record = folder / "run.json"
    if how_far != "sums" and record.is_file() and not record.is_symlink():
        try:
            facts = Facts.from_json(json.loads(record.read_text(encoding="utf-8")))
            facts = replace(facts, files=files.described_files(folder))
            texts = files.documents(facts)
            for name, text in texts.items() if how_far == "all" else ():
                if (folder / name).is_file():
                    (folder / name).write_text(text, encoding="utf-8")
            facts = replace(facts, documents=[Document.of(folder / name) for name in texts])
            record.write_text(json.dumps(facts.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except (InputError, ValueError, OSError, LookupError, TypeError, AttributeError, ArithmeticError):
            pass  # a forger who cannot read it leaves it
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name != "SHA256SUMS" and path.is_file():
            lines.append(f"{sha256(path)}  {path.name}\n")
    sums = folder / "SHA256SUMS"
    if sums.is_file() and not sums.is_symlink():
        sums.write_text("".join(lines))


def meaning(folder: Path) -> dict[str, object]:
    """Return what the data files say to plain readers, without what nothing else in a release says."""
    said: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".gz", ".csv"):
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
                said[path.name] = table(path.name, [row for row in csv.reader(file, skipinitialspace=True) if row])
        elif path.suffix == ".parquet":
            said[path.name] = pq.read_table(path).to_pydict()
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                said[path.name] = {name: file[name][:].tobytes() for name in file}
        elif path.name in ("psla.json", "run.json"):
            said[path.name] = json.loads(path.read_text(encoding="utf-8"))
    return said


def table(name: str, rows: list[list[str]]) -> object:
    """Return the rows of a table that count; numbers of sampling weights to nine digits."""
    if name == "segments.csv":
        return [[row[0], row[3]] for row in rows if not row[0].startswith("#")]
    if name.startswith("sampling_weights"):
        return [rows[0], *([clip, *(f"{float(weight):.8e}" for weight in weights)] for clip, *weights in rows[1:])]
    kept = [place for place, column in enumerate(rows[0]) if column != FREE.get(name)]
    found = [[row[place] for place in kept] for row in rows]
    return sorted(found) if name == "missing.csv" else found


def verdict(folder: Path, capsys) -> tuple[int, str]:
    capsys.readouterr()
    code = release(["verify", str(folder)])
    return code, capsys.readouterr().err.strip()


def mutate(releases: tuple[Path, Path], folder: Path, seed: int) -> tuple[str, str]:
    """Change one file of a copy; return how far a forger went, and what was done."""
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(releases[0], folder)
    path = folder / rng.choice(sorted(path.name for path in folder.iterdir()))
    mutation: Callable = rng.choice(MUTATIONS)
    how_far = rng.choice(SEALS)
    if rng.random() < 0.1:
        shutil.copyfile(releases[1] / path.name, path)
        mutation = shutil.copyfile
    else:
        mutation(path, rng)
    if path.name != "SHA256SUMS":
        seal(folder, how_far)
    return how_far, f"seed {seed}: {mutation.__name__} of {path.name}, forged {how_far}"


def check(releases: tuple[Path, Path], folder: Path, seed: int, original: dict, capsys) -> None:
    how_far, what = mutate(releases, folder, seed)
    capsys.readouterr()
    code = release(["verify", str(folder)])
    said = capsys.readouterr().err.strip()
    assert code in (0, 2), what
    if code == 2:
        assert said.startswith("pseudolabel release verify: error: ") and "\n" not in said, f"{what}: {said}"
        return
    found = meaning(folder)
    record, right = found.pop("run.json"), dict(original).pop("run.json")
    assert all(found[file] == original[file] for file in found), f"{what}: passed, and says something else"
    assert [record[key] for key in COUNTED] == [right[key] for key in COUNTED], what
    if how_far != "all":  # the documents are those of the release: run.json says nothing else, no file has other bytes
        free = ("documents", "files", "ontology", "format", "format_version")  # the last two: as in earlier releases
        assert {k: v for k, v in record.items() if k not in free} == {k: v for k, v in right.items() if k not in free}
        for file in {*found, *WORDS}:
            assert (folder / file).read_bytes() == (releases[0] / file).read_bytes(), what


@pytest.mark.parametrize("part", range(6))
def test_a_changed_release_is_refused_in_one_line_or_says_the_same(releases, tmp_path, capsys, part):
    original = meaning(releases[0])
    for seed in range(50 * part, 50 * part + 50):
        check(releases, tmp_path / "release", seed, original, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(30))
def test_thousands_of_changed_releases(releases, tmp_path, capsys, part):
    original = meaning(releases[0])
    for seed in range(1000 + 100 * part, 1100 + 100 * part):
        check(releases, tmp_path / "release", seed, original, capsys)
