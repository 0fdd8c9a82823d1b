"""Score every clip with a model, whole and in windows of 10, 5 and 2 s, into one score store.

    python -m pseudolabel.score                                     # WORK/runs/teacher on every clip -> WORK/scores.h5
    python -m pseudolabel.score --run runs/a runs/b --list labels.csv --windows clip 2s --out scores.h5
    python -m pseudolabel.score --frames --out frames.h5            # before pooling, for evaluate detection
    python -m pseudolabel.score --folds runs/teacher-fold*          # each clip by models that never saw it or its group
    torchrun --nproc-per-node=2 -m pseudolabel.score                # several processes, GPUs or machines, one store
    python -m pseudolabel.score import predictions.npy --ids clips.txt --classes classes.txt
    python -m pseudolabel.score import predictions.csv              # header clip_id and the classes, a row a clip
    python -m pseudolabel.score import windows.npy --window-s 2 --hop-s 1 --ids ids.txt --classes audioset --name PANNs
    python -m pseudolabel.score import clip=a.npy 2s=b.npy --lengths lengths.csv --ids ids.txt --classes audioset
    python -m pseudolabel.score merge a.h5 b.h5 --out scores.h5     # of other clips, or of other scales
    python -m pseudolabel.score verify work/scores.h5               # compare a store with its checksums

The scores of several runs are averaged (mean of probabilities); with --folds, over the runs that were not trained on a
clip's group. Clips are scored in blocks: a killed run, started again, scores only the missing blocks, and its store has
the same bytes as that of an uninterrupted run.

`import` takes the scores of any other model instead: probabilities (clips, classes), or (clips, windows, classes) with
--window-s. Rows of shorter clips may be padded with 0, NaN or numbers outside [0, 1]. Windows that end within their
clip are real; so are windows cut by the clip's end, up to the last with a score above 0; no window begins after its
clip's end. Lengths come from --lengths, --clips, the clips.h5 beside the file, AudioSet's segment list as --ids, or
--clip-s. If a clip has no length and its row ends in windows without a score above 0, the import is refused.

Clips and runs are those of WORK. If an option names one of them elsewhere and --work is not given, the others are taken
from that folder, and the store is written there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel import cli, dry_run
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import SETTINGS, Blocks, not_parts, only_run, parts_of
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, first_few, no_file
from pseudolabel.layout import CLIPS, CONFIG, RUNS, SCORES, SEEN_CLIPS, TEACHER, WEIGHTS
from pseudolabel.models.networks import PRECISIONS
from pseudolabel.options import COUNT, DeviceOptions, VerbOptions, option
from pseudolabel.ownership import readable_object, refuse_input_as_output
from pseudolabel.plan_checks import (
    check_device,
    check_lists,
    check_vocabulary,
    classes_of_runs,
    other_sample_rate,
    sample_rate_of,
)
from pseudolabel.records import Inputs, run_record, sha256
from pseudolabel.score_import import IMPORT
from pseudolabel.score_stores import MERGE, VERIFY, files_beside, refuse_foreign_store, write_beside
from pseudolabel.scores.joining import joint_out_of_fold
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, length_s, parse_window, refuse_short_windows, window_name
from pseudolabel.scores.writing import STORED, ScoreLayout, stored_types, write_scores
from pseudolabel.temporaries import remove
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.out_of_fold import fold_attributes, seen_by, unseen_clips

if TYPE_CHECKING:
    import torch

    from pseudolabel.models.tagger import Tagger
    from pseudolabel.training.score_blocks import ScoringStats

BLOCK_SIZE = 256  # clips per block
LENGTHS = ("window_s", "fill", "min_frames", "max_frames")  # keys of a config: how clips are padded and cut


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(VerbOptions, DeviceOptions):
    """Which models score which clips, at which scales."""

    runs: tuple[Path, ...] = option((), "run folders, averaged", flag="--run", metavar="RUN", file=f"{RUNS}/{TEACHER}")
    folds: tuple[Path, ...] = option(
        (),
        "run folders of a cross-validated teacher (train --fold): each clip is scored by those that saw neither it nor "
        "its group",
        metavar="RUN",
    )
    clips: Path | None = option(None, "clip store", file=CLIPS)
    list: Path | None = option(None, "label list: only its clips, in its order (default: every clip)")
    windows: tuple[str | float, ...] = option(
        (CLIP, 10, 5, 2),
        "scales: clip, 10s, 5s, 2s, any length (default: clip 10s 5s 2s)",
        parse=parse_window,
        needs="!frames",
    )
    frames: bool = option(False, "instead, the scores of the network's frames before they are pooled, for detection")
    vocabulary: str | None = option(
        None, "to read --list with (default: WORK/vocabulary.csv, else audioset)", needs="list"
    )
    batch_size: int = option(32, "10 s clips per batch; windows and shorter clips fill the same amount of audio", COUNT)
    precision: str | None = option(
        None,
        "of the networks (default: the model's own, float32 of published weights; else bf16 on a GPU, where scores of "
        "small trained networks moved by up to 0.04, on average by 0.004 or less, and those of untrained ones by 0.2)",
        choices=PRECISIONS,
    )
    store: str | None = option(
        None,
        "type of all stored scores (default: float32 of whole clips, which labels are decided by, float16 of windows)",
        choices=STORED,
    )
    compile: bool = option(False, "compile the networks: pays on a GPU in long runs")
    out: Path | None = option(None, "score store (default: WORK/scores.h5)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runs and self.folds:
            raise InputError("--run and --folds both name the models", "--folds", "Name them once.")
        windows = (parse_window(str(window)) for window in self.windows)  # by name or by length
        object.__setattr__(self, "windows", tuple(dict.fromkeys(windows)))


@dataclass(frozen=True)
class Paths:
    """The files that the options name, or their defaults."""

    runs: tuple[Path, ...]
    clips: Path
    vocabulary: str | Path
    out: Path

    @classmethod
    def of(cls, options: ScoreOptions) -> Paths:
        """Return the paths that the options give."""
        named = [*(options.folds or options.runs), options.clips, options.list]
        folder = cli.base(options, *named)
        runs = options.folds or options.runs or (folder / RUNS / TEACHER,)
        vocabulary = cli.vocabulary_source(options, *named)
        return cls(runs, options.clips or folder / CLIPS, vocabulary, options.out or folder / SCORES)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The clips to score: their ids as the list writes them, their rows in the clip store, and those without audio."""

    clips: ClipStore
    ids: Sequence[str]
    rows: np.ndarray
    missing: Sequence[str] = ()
    n_renamed: int = 0

    @classmethod
    def of(cls, options: ScoreOptions, paths: Paths) -> Chosen:
        """Open the clip store and match the list against it."""
        if not paths.clips.is_file():
            raise no_file(paths.clips)
        clips = ClipStore.open(paths.clips)
        if options.list is None:
            return cls(clips, clips.clip_ids, np.arange(len(clips)))
        listed = cli.read_clip_ids(options.list)
        matched, clips = cli.find_in_store(listed, clips, options.list, options.strict)
        return cls(clips, matched.found, clips.rows(matched.found), matched.absent, len(matched.aliases))


# ---- scoring ----------------------------------------------------------------------------------------------------


def make_scores(options: ScoreOptions) -> None:
    """Make the score store, or take part as one of several processes."""
    paths, ranks = Paths.of(options), Ranks.from_environment()
    with ranks.joined(), only_run(paths.out) if ranks.leads else contextlib.nullcontext():
        if ranks.size == 1 and finished_before(paths.out):
            return
        refuse_foreign_store(paths.out, options.overwrite)
        _score(options, paths, ranks)


def finished_before(out: Path) -> bool:
    """Remove the blocks of a run that was killed after it had made this store; return whether there was one."""
    settings = parts_of(out) / SETTINGS
    if not (out.is_file() and settings.is_file()):
        return False
    record = readable_object(files_beside(out)[0])
    if record.get("settings_sha256") != sha256(settings):
        return False
    store, made = ScoreStore.open(out).attributes, json.loads(settings.read_text(encoding="utf-8"))
    if record.get("tables_crc32") != store.get("tables_crc32"):
        return False
    if any(str(store[name]) != str(value) for name, value in made.items() if name in store):
        return False  # an older store of the same scores
    remove(parts_of(out), not_parts)
    print(f"{out} was finished by an earlier run; its blocks are removed")
    return True


def _score(options: ScoreOptions, paths: Paths, ranks: Ranks) -> None:
    from pseudolabel.training.frame_scoring import FrameScorer, frame_length
    from pseudolabel.training.score_blocks import count_windows, score_blocks
    from pseudolabel.training.scoring import Scorer, ready_to_score

    chosen, inputs = Chosen.of(options, paths), Inputs()
    refuse_short_windows(options.windows, chosen.clips.sample_rate)
    if ranks.leads:
        for read in (paths.clips, options.list, *(run / name for run in paths.runs for name in (WEIGHTS, SEEN_CLIPS))):
            inputs.read(read)
        refuse_input_as_output(paths.out, [*inputs.sha256, *paths.runs])
    device = cli.choose_device(ranks.device_name(options.device), options.threads)
    taggers = load_taggers(paths.runs, chosen.clips.sample_rate, device)
    scaled, scorer_of = options, FrameScorer if options.frames else Scorer
    if options.frames:
        scaled = replace(options, windows=(frame_length(taggers, paths.runs),), frames=False)
    unseen = unseen_clips(paths.runs, chosen.clips, chosen.rows) if options.folds else None
    made_by = {
        **describe_models(paths.runs, taggers, chosen),
        **({} if unseen is None else fold_attributes(unseen)),
        **describe_scoring(options, taggers, device),
    }
    settings = made_by | describe_blocks(scaled, chosen, device)
    blocks, unfinished = share_blocks(paths.out, len(chosen.rows), settings, options.overwrite, ranks)

    n_windows = count_windows(scaled.windows, chosen.clips.n_samples[chosen.rows], chosen.clips.sample_rate)
    types = stored_types(n_windows, options.store)
    layout = ScoreLayout.of_windows(chosen.ids, taggers[0].config["class_ids"], n_windows, types=types)
    ready_to_score(taggers, device, options.compile)
    scorer = scorer_of(taggers, device, options.batch_size, options.precision)
    mine = unfinished[ranks.rank :: ranks.size]
    work = score_blocks(blocks, mine, scorer, chosen.clips, chosen.rows, scaled.windows, unseen, types)
    work = work.of_all(ranks)
    if ranks.leads:
        made_by["vocabulary"] = Path(paths.vocabulary).name
        join_blocks(options, paths.out, blocks, chosen, layout, made_by, work, inputs)


def load_taggers(runs: Sequence[Path], sample_rate: int, device: torch.device) -> list[Tagger]:
    """Return the models of run folders, which must agree on classes and on the store's sample rate."""
    from pseudolabel.models import load_model

    taggers = [load_model(run, device) for run in runs]
    for run, tagger in zip(runs, taggers, strict=True):
        if tagger.config["class_ids"] != taggers[0].config["class_ids"]:
            raise InputError(f"its classes differ from those of {runs[0]}", run, "Score them one by one.")
        if tagger.config["sample_rate"] != sample_rate:
            raise other_sample_rate(run, tagger.config["sample_rate"], sample_rate)
    return taggers


def describe_models(runs: Sequence[Path], taggers: Sequence[Tagger], chosen: Chosen) -> dict[str, object]:
    """Return the store's attributes about its models: names, checksums of weights, training clips.

    `out_of_fold` is true if the recorded training clips of no run include a scored clip or one of the same group; it
    is absent if a run has no such record.
    """
    trained_on = [run / SEEN_CLIPS for run in runs]
    seen = [seen_by(run, chosen.clips) for run in runs]
    configs = [tagger.config for tagger in taggers]
    names = [f"{config['name']} {sha256(run / WEIGHTS)}" for config, run in zip(configs, runs, strict=True)]
    return {
        "model": "; ".join(names),
        "trained_on_sha256": "; ".join(sha256(path) if path.is_file() else "unknown" for path in trained_on),
        **joint_out_of_fold(None if of_run is None else not of_run[chosen.rows].any() for of_run in seen),
        "front_end": json.dumps([config["front_end"] for config in configs]),
        "lengths": json.dumps([{key: config[key] for key in LENGTHS} for config in configs]),
    }


def describe_scoring(options: ScoreOptions, taggers: Sequence[Tagger], device: torch.device) -> dict[str, object]:
    """Return the store's attributes about what else affects the last bits of the scores."""
    from pseudolabel.training.scoring import precision_on

    own = [precision_on(device, options.precision or tagger.config["precision"]) for tagger in taggers]
    return {
        "threads": options.threads,
        "batch_size": options.batch_size,
        "precision": "; ".join(dict.fromkeys(own)),
        "compiled": options.compile,
        **({"frames": True} if options.frames else {}),
    }


def describe_blocks(options: ScoreOptions, chosen: Chosen, device: torch.device) -> dict[str, object]:
    """Return what blocks depend on beside the store's attributes."""
    return {
        "windows": [window_name(window) for window in options.windows],
        "device": device.type,
        "clips": hashlib.sha256("\n".join(chosen.ids).encode()).hexdigest(),
        "clip_store": chosen.clips.content(),
        "blocks": "with checksums",
        "store": options.store or "float32 of whole clips",
    }


def share_blocks(
    out: Path, n_clips: int, settings: Mapping[str, object], restart: bool, ranks: Ranks
) -> tuple[Blocks, list[int]]:
    """Return the blocks, claimed by the leader before the others join, and the numbers of the unfinished ones."""
    blocks = Blocks(out, n_clips, BLOCK_SIZE, settings, restart) if ranks.leads else None
    unfinished = np.zeros(-(-n_clips // BLOCK_SIZE), np.int64)
    if blocks is not None:
        unfinished[blocks.unfinished()] = 1
    unfinished = ranks.from_leader(unfinished)
    if blocks is None:
        blocks = Blocks(out, n_clips, BLOCK_SIZE, settings, join=True)
    return blocks, np.flatnonzero(unfinished).tolist()


def join_blocks(
    options: ScoreOptions,
    out: Path,
    blocks: Blocks,
    chosen: Chosen,
    layout: ScoreLayout,
    attributes: Mapping[str, object],
    work: ScoringStats,
    inputs: Inputs,
) -> None:
    """Join the blocks into the store, and print a summary."""
    from pseudolabel.training.score_blocks import merged_blocks

    blocks.await_all()
    record = {
        **run_record("score", asdict(options), inputs),
        "settings_sha256": sha256(blocks.folder / SETTINGS),
        "clips_under_another_id": chosen.n_renamed,
        "clips_made": work.clips,
        "seconds": round(work.seconds, 2),
        "processes": work.processes,
        "waiting_share": round(work.waiting_share, 4),
    }

    def beside(crc32: int) -> None:
        rows = [(clip_id, "no audio") for clip_id in chosen.missing]
        write_beside(out, {**record, "tables_crc32": crc32}, ("clip_id", "reason"), rows)

    write_scores(out, layout, merged_blocks(blocks, layout.shapes), attributes, options.overwrite, beside)
    blocks.remove()
    notes = [f"{len(chosen.missing)} listed clips have no audio"]
    shortest = min((length_s(scale) for scale in layout.shapes if scale != CLIP), default=0)
    n_short = int((chosen.clips.n_samples[chosen.rows] < shortest * chosen.clips.sample_rate).sum())
    if n_short:
        notes.append(f"{n_short} clips are shorter than {shortest:g} s and are one window each")
    if work.clips:
        rate, waited = work.clips / work.seconds, 100 * work.waiting_share
        notes.append(f"{rate:.3g} clips a second, the device waited {waited:.1f} % of the time")
    held = f"{len(chosen.ids)} clips x {len(layout.class_ids)} classes at {', '.join(layout.shapes)}"
    print(f"wrote {out}: {held}; {'; '.join(notes)}")


# ---- the command ------------------------------------------------------------------------------------------------


def plan_score(options: ScoreOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the store."""
    paths = Paths.of(options)
    inputs = [paths.clips, options.list, *(run / name for run in paths.runs for name in (WEIGHTS, CONFIG))]
    classes = classes_of_runs(paths.runs, paths.clips)
    check_device(options.device, options.threads)
    if options.list:
        check_vocabulary(paths.vocabulary)
    dry_run.refuse_output(paths.out, options.overwrite, lambda: refuse_foreign_store(paths.out, options.overwrite))
    refuse_input_as_output(paths.out, inputs)
    dry_run.refuse_absent(*inputs)
    check_lists(None, options.list)
    if (sample_rate := sample_rate_of(paths.clips)) is not None:
        refuse_short_windows(options.windows, sample_rate)
    said = {} if options.frames else {"scales": list(options.windows)}
    dry_run.promise(paths.out, **said, classes=classes)
    scales = "frames" if options.frames else f"scales {', '.join(map(window_name, options.windows))}"
    return f"would write {paths.out}: {first_few(paths.runs)} on {paths.clips}, {scales}"


COMMANDS = {
    "run": Command(ScoreOptions, make_scores, plan_score),
    "import": IMPORT,
    "merge": MERGE,
    "verify": VERIFY,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("score", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
