"""Isolated sounds for scenes, synthesised or recorded, divided so that no two parts share a source."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pseudolabel.audio.files import UnreadableAudio
from pseudolabel.audio.streams import read_audio
from pseudolabel.corpus.scenes import SceneOptions, trim_silence
from pseudolabel.errors import InputError, first_few
from pseudolabel.formatting import plural
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import progress_over
from pseudolabel.tables import is_file, read_csv, read_header

POOLS = tuple(f"pool{number}" for number in range(5))
PARTS = (*POOLS, "validation", "eval")
EVAL_SHARE, VALIDATION_SHARE = 0.2, 0.1
LONGEST_SOUND_S = 30.0  # only the beginning of a longer recording is used
CACHE_BYTES = 400_000_000  # of sounds kept per process; others are made again each time they are drawn
ESC_NAME = re.compile(r"\d+-(?P<freesound>\d+)-[A-Z]+-\d+")  # fold-freesound-take-target


@dataclass(frozen=True)
class Sound:
    """One isolated sound: a file, or a seed for the synthesiser. Several files may come from one source."""

    source: str
    class_id: str
    file: str = ""
    seed: int = 0
    part: str = ""


@dataclass
class SoundTable:
    """The sounds of a folder, and its unusable classes {name: reason} and files (file, reason)."""

    sounds: list[Sound]
    left_out: dict[str, str] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def synthesised_sounds(names: dict[str, str], n_sources: int, seed: int) -> list[Sound]:
    """Return `n_sources` sounds per class {id: name}, with seeds that depend only on `seed`, class and number."""
    sounds = []
    for class_id, name in names.items():
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        for number in range(n_sources):
            entropy = np.random.SeedSequence([seed, zlib.crc32(class_id.encode()), number])
            sounds.append(Sound(f"{slug}-{number:03d}", class_id, seed=int(entropy.generate_state(1, np.uint64)[0])))
    return sounds


def read_sound_table(folder: Path, table: Path, audioset: Vocabulary, strict: bool = False) -> SoundTable:
    """Read the table that assigns recordings in `folder` to classes.

    The table is ESC-50's (`filename` or `file`, `category`) or a plain one (`file,class[,source]`). A class is an
    ESC-50 category, an AudioSet id or an AudioSet name. Files of one source stay together. The source is taken from its
    column, or from the Freesound number in an ESC-50 file name, or else is the file itself.

    Raises:
        InputError: the folder or table does not exist, a column is missing, a file is listed twice, no file exists, or
            `strict` and one is missing.
        UnknownClass: a class is none of the three.
    """
    if not folder.is_dir():
        raise InputError("no such folder of sounds", folder, "Give --sounds FOLDER.")
    file_column, class_column = sound_columns(table)
    rows = read_csv(table)
    esc50 = Vocabulary.load("esc50")
    result, seen = SoundTable([]), {}
    for row in rows:
        file, line = row[file_column], f"{table}:{row['line']}"
        if file in seen:
            raise InputError(f"file {file!r} is listed twice, first in line {seen[file]}", line, "Keep one.")
        seen[file] = row["line"]
        text = row[class_column].strip()
        class_id = esc50.ontology_ids[esc50.index[text]] if text in esc50.index else audioset.find(text, line)
        if not class_id:
            result.left_out[text] = "no AudioSet class is the same"
        elif not is_file(folder / file):
            result.skipped.append((file, "no such file"))
        else:
            result.sounds.append(Sound(row.get("source", "").strip() or source_of(file), class_id, file))
    if not result.sounds or (strict and result.skipped):
        absent = first_few(file for file, _ in result.skipped) or "the table names none with an AudioSet class"
        raise InputError(f"recordings are missing: {absent}", folder, f"Give the folder of the files in {table}.")
    return result


def sound_columns(table: Path) -> list[str]:
    """Return the names of the columns of files and of classes; raise InputError if one is missing."""
    columns = read_header(table)
    pairs = ("file", "filename"), ("class", "category")
    present = [next((name for name in pair if name in columns), "") for pair in pairs]
    if not all(present):
        absent = "class" if present[0] else "file"
        listed = ", ".join(columns) or "none"
        remedy = "The header needs file,class[,source], or filename,category as in ESC-50."
        raise InputError(f"column {absent!r} is missing; columns found: {listed}", f"{table}:1", remedy)
    return present


def source_of(file: str) -> str:
    """Return the Freesound number in an ESC-50 file name, or the path without its suffix for any other name."""
    match = ESC_NAME.fullmatch(Path(file).stem)
    return match["freesound"] if match else Path(file).with_suffix("").as_posix()


def check_recordings(table: SoundTable, folder: Path, options: SceneOptions, strict: bool = False) -> SoundTable:
    """Decode every recording once; return the table without unusable ones, which are listed with their reasons.

    A recording kept although its length differs from its header is listed too.

    Raises:
        UnreadableAudio: `strict`, and one cannot be used.
    """
    kept, skipped = [], list(table.skipped)
    for sound in progress_over(table.sounds, "checking recordings", len(table.sounds), "file"):
        try:
            recording = read_audio(folder / sound.file, options.sample_rate, LONGEST_SOUND_S)
            trim_silence(recording.samples)
            kept.append(sound)
            skipped += [(sound.file, f"kept: {recording.note}")] if recording.note else []
        except UnreadableAudio as error:
            if strict:
                raise
            skipped.append((sound.file, error.reason))
    return SoundTable(kept, table.left_out, skipped)


def load_sound(sound: Sound, folder: Path | None, options: SceneOptions) -> np.ndarray:
    """Load or synthesise one sound; return its samples (T,) float32, trimmed of silence."""
    if sound.file:
        return trim_silence(read_audio(folder / sound.file, options.sample_rate, LONGEST_SOUND_S).samples)
    import soxr

    from pseudolabel.corpus.synthesis import LOWEST_RATE, synthesise

    rate = max(options.sample_rate, LOWEST_RATE)
    samples = synthesise(sound.class_id, np.random.default_rng(sound.seed), rate)
    return trim_silence(samples if rate == options.sample_rate else soxr.resample(samples, rate, options.sample_rate))


def divide(sounds: Sequence[Sound], min_sources: int, seed: int) -> tuple[list[Sound], dict[str, str]]:
    """Assign every source to one part: about a fifth to eval, a tenth to validation, the rest evenly to five pools.

    A source with sounds of several classes gets the same part for all of them. Classes with the fewest sources choose
    first.

    Returns:
        The sounds with their parts, and {class id: reason} of the classes left out because they have fewer than
        `min_sources` sources or because a part would have none.
    """
    sources: dict[str, set[str]] = defaultdict(set)
    for sound in sounds:
        sources[sound.class_id].add(sound.source)
    left_out = {
        class_id: plural(len(names), "source") for class_id, names in sources.items() if len(names) < min_sources
    }
    part_of: dict[str, str] = {}
    for class_id in sorted(sources.keys() - left_out.keys(), key=lambda one: (len(sources[one]), one)):
        names = sorted(sources[class_id])
        rng = np.random.default_rng([seed, zlib.crc32(class_id.encode())])
        missing = part_sizes(len(names), int(rng.integers(len(POOLS))))
        for name in names:
            if name in part_of:
                missing[part_of[name]] -= 1
        free = [name for name in names if name not in part_of]
        for name in (free[k] for k in rng.permutation(len(free))):
            part = max(PARTS, key=lambda one: (missing[one], -PARTS.index(one)))
            part_of[name] = part
            missing[part] -= 1
        empty = set(PARTS) - {part_of[name] for name in names}
        if empty:
            left_out[class_id] = f"shares so many sources with other classes that {min(empty)} has none"
    kept = [replace(sound, part=part_of[sound.source]) for sound in sounds if sound.class_id not in left_out]
    return kept, left_out


def part_sizes(n_sources: int, first_pool: int = 0) -> dict[str, int]:
    """Return how many of a class's sources each part gets; seven or more give every part at least one.

    Pools from `first_pool` on, in turn, get one more each until the remainder is used up.
    """
    n_eval = max(round(EVAL_SHARE * n_sources), 1)
    n_validation = max(round(VALIDATION_SHARE * n_sources), 1)
    n_each, n_more = divmod(n_sources - n_eval - n_validation, len(POOLS))
    sizes = {pool: n_each + ((k - first_pool) % len(POOLS) < n_more) for k, pool in enumerate(POOLS)}
    return {**sizes, "validation": n_validation, "eval": n_eval}


class SoundLibrary:
    """Draws sounds from one part of the corpus and caches what it made or decoded."""

    def __init__(self, sounds: Iterable[Sound], folder: Path | None, options: SceneOptions):
        self.folder, self.options = folder, options
        self.by_part: dict[tuple[str, str], dict[str, list[Sound]]] = defaultdict(lambda: defaultdict(list))
        for sound in sounds:
            self.by_part[sound.part, sound.class_id][sound.source].append(sound)
        self.cache: dict[Sound, np.ndarray] = {}
        self.cached_bytes = 0

    def draw(
        self, rng: np.random.Generator, part: str, class_ids: Sequence[str], priors: Sequence[float]
    ) -> tuple[str, str, np.ndarray]:
        """Draw a class by its prior, then uniformly a source and a sound of it; return (class id, source, samples)."""
        class_id = class_ids[int(rng.choice(len(class_ids), p=priors))]
        sources = self.by_part[part, class_id]
        takes = sources[list(sources)[int(rng.integers(len(sources)))]]
        sound = takes[int(rng.integers(len(takes)))]
        return class_id, sound.source, self.samples(sound)

    def samples(self, sound: Sound) -> np.ndarray:
        """Return the samples (T,) float32 of one sound."""
        if sound in self.cache:
            return self.cache[sound]
        samples = load_sound(sound, self.folder, self.options)
        if self.cached_bytes + samples.nbytes <= CACHE_BYTES:
            self.cache[sound] = samples
            self.cached_bytes += samples.nbytes
        return samples
