"""Mix the scenes of a corpus block by block, in any number of processes; a killed run resumes where it stopped."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pseudolabel.artefacts import write_json
from pseudolabel.audio.clips import to_pcm16
from pseudolabel.corpus.outputs import RECIPE, not_unfinished
from pseudolabel.corpus.scenes import Event, SceneOptions, make_scene
from pseudolabel.corpus.sources import POOLS, Sound, SoundLibrary
from pseudolabel.layout import SCENES
from pseudolabel.progress import Progress
from pseudolabel.temporaries import full_disk_at, remove
from pseudolabel.workers import process_pool, with_begun

LISTS = ("full", "validation", "eval")
CLIP_IDS = {"full": "full-{:06d}", "validation": "validation-{:05d}", "eval": "eval-{:05d}"}
BLOCK = 32  # scenes made and recorded as done together


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the scenes, and nothing else.

    Attributes:
        sounds: isolated sounds, each with its part.
        folder: folder of the recordings; None for synthesised sounds.
        class_ids: (K,) classes of the sounds.
        priors: {list: (K,) probability of each class}.
        sizes: {list: number of scenes}.
    """

    sounds: tuple[Sound, ...]
    folder: Path | None
    scene: SceneOptions
    class_ids: tuple[str, ...]
    priors: dict[str, list[float]]
    sizes: dict[str, int]
    seed: int

    def make(self, library: SoundLibrary, list_name: str, number: int) -> tuple[np.ndarray, list[Event]]:
        """Return one scene (T,) float32 and its events, which depend only on the recipe, the list and the number."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, LISTS.index(list_name), number]))
        part, priors = part_of(list_name, number), self.priors[list_name]
        return make_scene(lambda rng: library.draw(rng, part, self.class_ids, priors), rng, self.scene)

    def blocks(self) -> list[tuple[str, int, int]]:
        """Return the units of work: (list, first scene, one past the last)."""
        return [
            (name, first, min(first + BLOCK, self.sizes[name]))
            for name in LISTS
            for first in range(0, self.sizes[name], BLOCK)
        ]

    def fingerprint(self) -> dict[str, object]:
        """Return the JSON values that must be equal for two runs to make the same scenes."""
        from pseudolabel import __version__

        sizes = [(self.folder / sound.file).stat().st_size for sound in self.sounds if sound.file]
        values = {**asdict(self), "bytes": sizes, "block": BLOCK, "version": __version__}
        return json.loads(json.dumps(values, default=str))


def part_of(list_name: str, number: int) -> str:
    """Return the part whose sources a scene uses; training scenes cycle through the five pools."""
    return POOLS[number % len(POOLS)] if list_name == "full" else list_name


def class_priors(n: int, exponent: float, seed: int) -> list[float]:
    """Return the priors of n classes, summing to 1: Zipf's law, rank ** -exponent, with ranks in random order."""
    weights = (1.0 + np.random.default_rng(seed).permutation(n)) ** -exponent
    return [float(weight) for weight in weights / weights.sum()]


def open_unfinished(folder: Path, recipe: Recipe) -> Path:
    """Prepare `folder` for the unfinished work of this recipe and return it; work of another recipe is removed."""
    mark, fingerprint = folder / RECIPE, recipe.fingerprint()
    if not (mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == fingerprint):
        remove(folder, not_unfinished)
    for name in (SCENES, "blocks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_json(mark, fingerprint)
    return folder


def make_scenes(recipe: Recipe, parts: Path, processes: int = 1) -> dict[str, list[Event]]:
    """Write the missing scenes to `parts`/scenes; return {clip id: events} of all scenes, in order."""
    blocks = recipe.blocks()
    missing = [block for block in blocks if not _events_path(parts, block).is_file()]
    n_scenes = sum(recipe.sizes.values())
    n_done = n_scenes - sum(stop - first for _, first, stop in missing)
    if n_done:
        print(f"continuing: {n_done} of {n_scenes} scenes were made by an interrupted run", file=sys.stderr)
    with Progress("mixing scenes", n_scenes, "scene", start=n_done) as progress:
        for n in _run(missing, recipe, parts, min(processes, len(missing))):
            progress.advance(n)
    events_of = {}
    for block in blocks:
        for clip_id, events in json.loads(_events_path(parts, block).read_text(encoding="utf-8")).items():
            events_of[clip_id] = [Event(**event) for event in events]
    return events_of


def make_block(block: tuple[str, int, int], recipe: Recipe, library: SoundLibrary, parts: Path) -> int:
    """Write the scenes of a block, then the list of their events, which marks the block as complete."""
    import soundfile

    list_name, first, stop = block
    events = {}
    for number in range(first, stop):
        clip_id = CLIP_IDS[list_name].format(number)
        scene, in_scene = recipe.make(library, list_name, number)
        encoded = io.BytesIO()  # in memory: soundfile would wait for the disk after each file
        soundfile.write(encoded, to_pcm16(scene), recipe.scene.sample_rate, format="FLAC", subtype="PCM_16")
        path = parts / SCENES / f"{clip_id}.flac"
        with full_disk_at(path):
            path.write_bytes(encoded.getbuffer())
        events[clip_id] = [asdict(event) for event in in_scene]
    write_json(_events_path(parts, block), events)
    return stop - first


def _events_path(parts: Path, block: tuple[str, int, int]) -> Path:
    return parts / "blocks" / f"{block[0]}-{block[1]:06d}.json"


def _run(blocks: list[tuple[str, int, int]], recipe: Recipe, parts: Path, processes: int) -> Iterator[int]:
    """Make blocks; yield the number of scenes in each."""
    if processes <= 1:
        begun = _begin(recipe, parts)
        yield from (_make(begun, block) for block in blocks)
        return
    pool = process_pool(processes, _begin, (recipe, parts))
    try:
        yield from pool.map(partial(with_begun, _make), blocks)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(recipe: Recipe, parts: Path) -> tuple[Recipe, SoundLibrary, Path]:
    return recipe, SoundLibrary(recipe.sounds, recipe.folder, recipe.scene), parts


def _make(begun: tuple[Recipe, SoundLibrary, Path], block: tuple[str, int, int]) -> int:
    return make_block(block, *begun)
