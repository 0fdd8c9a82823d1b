"""Mix a corpus whose truth is known, and label it as a careless annotator would.

    python -m pseudolabel.simulate
    python -m pseudolabel.simulate --scenes 5000 --classes all --seed 7
    python -m pseudolabel.simulate --sounds ESC-50/audio --sound-labels ESC-50/meta/esc50.csv

Isolated sounds, synthesised or recorded, become scenes of a few events against background noise. Training scenes fall
into five pools that share no source, so that a teacher can be cross-validated by `group`; validation and eval share
none with them either. Written to --work:

  scenes/*.flac, clips.csv      the scenes; clip_id,file,group,list
  sources.csv, events.csv       which sound went into which part, and what sounds when in which scene
  vocabulary.csv, truth.csv     the classes with all their ancestors in AudioSet, and every true label
  labels.csv, balanced.csv      what a careless annotator gave: the full training list, and a fifth of it, drawn evenly
  validation.csv, eval.csv      the same annotator's labels of the other two lists
  dropped.csv, annotator.csv    why each wrong label is wrong; the probabilities behind it, class by class
  skipped_sounds.csv, run.json  recordings that could not be used; how this corpus was made

A killed run started again makes only the scenes that are missing.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pseudolabel import dry_run
from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.blocks import only_run
from pseudolabel.cli import positive_int, probability, run_verb, verb_parser
from pseudolabel.corpus.annotator import WHY, Annotation, Annotator, AnnotatorOptions
from pseudolabel.corpus.mixing import (
    CLIP_IDS,
    Recipe,
    class_priors,
    make_scenes,
    open_parts,
    part_of,
)
from pseudolabel.corpus.outputs import PARTS_FOLDER, SCENES, TABLES, publish, refuse_others
from pseudolabel.corpus.scenes import Event, SceneOptions
from pseudolabel.corpus.sources import (
    PARTS,
    POOLS,
    SoundTable,
    check_recordings,
    divide,
    read_sound_table,
    synthesised_sounds,
)
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.splits import draw_balanced
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.machine import allowed_cores
from pseudolabel.options import check_types
from pseudolabel.ownership import refuse_input_as_output
from pseudolabel.records import Inputs, run_record

LABEL_FILES = {"full": "labels.csv", "validation": "validation.csv", "eval": "eval.csv"}
# One stream of random numbers for each purpose; a scene's own is [seed, list number, scene number].
SYNTHESIS, DIVISION, PRIORS, ANNOTATOR, BALANCE = range(100, 105)


@dataclass(frozen=True)
class SimulateOptions:
    """How many scenes of what make a corpus."""

    scenes: int = 2000
    """Scenes of the full training list."""
    balanced: int | None = None
    """Rows of the balanced list; None means a fifth of `scenes`."""
    validation: int = 200
    eval: int = 400
    classes: tuple[str, ...] = ()
    """Ids or names, or `demo` or `all` alone; nothing means `demo` of the synthesised and `all` of recorded classes."""
    sources: int = 40
    """Synthesised sources a class."""
    min_sources: int = len(PARTS)
    """Recorded classes with fewer sources are left out: five pools, validation and eval need one each."""
    imbalance: float = 0.7
    """Exponent z of the class priors rank ** -z in the full list; in validation and eval they are even."""
    seed: int = 0
    scene: SceneOptions = field(default_factory=SceneOptions)
    annotator: AnnotatorOptions = field(default_factory=AnnotatorOptions)

    def __post_init__(self) -> None:
        check_types(self)
        if self.seed < 0:
            raise InputError(f"a seed is a whole number from 0, not {self.seed}", "--seed")
        if self.scenes < len(POOLS):
            raise InputError(f"five pools need at least 5 scenes, not {self.scenes}", "--scenes")
        if min(self.validation, self.eval) < 1:
            raise InputError("both lists need at least one scene", "--validation and --eval")
        if self.balanced is not None and not 1 <= self.balanced <= self.scenes:
            raise InputError(f"{self.balanced} of {self.scenes} scenes cannot be drawn", "--balanced")
        for option in ("sources", "min_sources"):
            if getattr(self, option) < len(PARTS):
                raise InputError(
                    f"five pools, validation and eval need 7 sources a class, not {getattr(self, option)}",
                    f"--{option.replace('_', '-')}",
                )
        if not 0 <= self.imbalance <= 5:
            raise InputError(f"an exponent lies between 0 and 5, not {self.imbalance:g}", "--imbalance")

    @property
    def sizes(self) -> dict[str, int]:
        """Scenes of each list."""
        return {"full": self.scenes, "validation": self.validation, "eval": self.eval}

    def stream(self, purpose: int) -> int:
        """Return the seed for one purpose."""
        return int(np.random.SeedSequence([self.seed, purpose]).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Corpus:
    """What a simulation wrote: events and labels of every clip, by clip id, and the annotator who gave them."""

    events: dict[str, list[Event]]
    annotations: dict[str, Annotation]
    annotator: Annotator
    table: SoundTable
    n_balanced: int


def simulate(
    work: Path,
    options: SimulateOptions,
    sounds: Path | None = None,
    sound_labels: Path | None = None,
    processes: int = 1,
    overwrite: bool = False,
    strict: bool = False,
    record: dict | None = None,
) -> Corpus:
    """Write a corpus into the folder `work`; the bytes are the same whatever the number of processes.

    Args:
        sounds: folder of isolated recordings, with the class of each in `sound_labels`; None means synthesised sounds.
        strict: a recording that is missing or damaged is an error.
        record: goes into run.json.
    Raises:
        OutputExists: one of the outputs is there and `overwrite` is False.
        InputError: recordings without a class table, a wrong table, or not one class with enough sources.
    """
    with only_run(work / "simulate"):
        for name in (SCENES, *TABLES):
            refuse_input_as_output(work / name, [sounds, sound_labels])
        refuse_others(work, overwrite)
        return _simulate_alone(work, options, sounds, sound_labels, processes, strict, record)


def _simulate_alone(
    work: Path,
    options: SimulateOptions,
    sounds: Path | None,
    sound_labels: Path | None,
    processes: int,
    strict: bool,
    record: dict | None,
) -> Corpus:
    audioset, ontology = Vocabulary.load("audioset"), Ontology.load()
    table = collect_sounds(options, audioset, sounds, sound_labels, strict)
    used = audioset.subset(sound.class_id for sound in table.sounds)
    rows = ontology.ancestors(audioset)[[audioset.index[class_id] for class_id in used.class_ids]]
    vocabulary = audioset.subset([*used.class_ids, *(audioset.class_ids[k] for k in rows.indices)])

    even = class_priors(len(used), 0.0, 0)
    uneven = class_priors(len(used), options.imbalance, options.stream(PRIORS))
    priors = {"full": uneven, "validation": even, "eval": even}
    recipe = Recipe(tuple(table.sounds), sounds, options.scene, used.class_ids, priors, options.sizes, options.seed)
    parts = open_parts(work / PARTS_FOLDER, recipe)
    events = make_scenes(recipe, parts, processes)

    annotator = Annotator.draw(
        vocabulary, ontology.ancestors(vocabulary), used.class_ids, options.annotator, options.stream(ANNOTATOR)
    )
    annotations = {
        clip_id: annotator.annotate(clip_id, [event.class_id for event in heard]) for clip_id, heard in events.items()
    }
    n_balanced = write_labels(parts, annotations, vocabulary, options)
    write_tables(parts, table, events, annotations, annotator)
    write_json(parts / "run.json", record or {"verb": "simulate"})
    publish(parts, work)
    return Corpus(events, annotations, annotator, table, n_balanced)


def collect_sounds(
    options: SimulateOptions, audioset: Vocabulary, folder: Path | None, sound_labels: Path | None, strict: bool
) -> SoundTable:
    """Return the sounds to mix, each with its part, and what was left out and why."""
    if (folder is None) != (sound_labels is None):
        raise InputError("recordings need a class table", "--sounds", "Give --sounds FOLDER and --sound-labels CSV.")
    named = () if options.classes in (("demo",), ("all",)) else options.classes
    wanted = [audioset.find(text, "--classes") for text in named]
    if folder is None:
        from pseudolabel.corpus.synthesis import DEMO_CLASSES, SYNTHESISERS

        unknown = [audioset.names[audioset.index[one]] for one in wanted if one not in SYNTHESISERS]
        if unknown:
            known = ", ".join(audioset.names[audioset.index[one]] for one in SYNTHESISERS)
            raise InputError(f"no synthesiser for {first_few(unknown)}", "--classes", f"There are: {known}.")
        chosen = wanted or (SYNTHESISERS if options.classes == ("all",) else DEMO_CLASSES)
        vocabulary = audioset.subset(chosen)
        names = dict(zip(vocabulary.class_ids, vocabulary.names, strict=True))
        table = SoundTable(synthesised_sounds(names, options.sources, options.stream(SYNTHESIS)))
    else:
        table = read_sound_table(folder, sound_labels, audioset, strict)
        if wanted:
            table.sounds = [sound for sound in table.sounds if sound.class_id in wanted]
        _, too_few = divide(table.sounds, options.min_sources, options.stream(DIVISION))
        table.sounds = [sound for sound in table.sounds if sound.class_id not in too_few]
        table.left_out.update(too_few)
        table = check_recordings(table, folder, options.scene, strict)
    kept, too_few = divide(table.sounds, options.min_sources, options.stream(DIVISION))
    left_out = {**table.left_out, **too_few}
    left_out = {audioset.names[audioset.index[c]] if c in audioset.index else c: why for c, why in left_out.items()}
    if not kept:
        most = first_few(f"{name} ({why})" for name, why in left_out.items())
        raise InputError(
            f"not one class has {options.min_sources} sources; {most or 'no recording is of a wanted class'}",
            sound_labels,
            "Give more recordings, or other --classes.",
        )
    return SoundTable(kept, left_out, table.skipped)


def write_labels(
    folder: Path, annotations: dict[str, Annotation], vocabulary: Vocabulary, options: SimulateOptions
) -> int:
    """Write vocabulary, truth and the annotator's four lists; return the number of clips of the balanced one."""
    vocabulary.write(folder / "vocabulary.csv")
    truth = [annotation.truth for annotation in annotations.values()]
    LabelTable.from_sets(list(annotations), truth, vocabulary).write(folder / "truth.csv")

    def given(clip_ids: list[str]) -> LabelTable:
        return LabelTable.from_sets(clip_ids, [annotations[clip_id].given for clip_id in clip_ids], vocabulary)

    for name, file in LABEL_FILES.items():
        given([CLIP_IDS[name].format(number) for number in range(options.sizes[name])]).write(folder / file)
    full = given([CLIP_IDS["full"].format(number) for number in range(options.scenes)])
    n = options.balanced or max(round(options.scenes / 5), 1)
    balanced = draw_balanced(full, n, np.random.default_rng(options.stream(BALANCE)))
    given(balanced).write(folder / "balanced.csv")
    return len(balanced)


def write_tables(
    folder: Path,
    table: SoundTable,
    events: dict[str, list[Event]],
    annotations: dict[str, Annotation],
    annotator: Annotator,
) -> None:
    """Write what is known of the clips, their sources, their events and the annotator's slips."""
    clips = []
    for clip_id in events:
        list_name, number = clip_id.split("-")
        clips.append((clip_id, f"scenes/{clip_id}.flac", part_of(list_name, int(number)), list_name))
    write_csv(folder / "clips.csv", ("clip_id", "file", "group", "list"), clips)
    rows = [(one.source, one.class_id, one.file, "" if one.file else one.seed, one.part) for one in table.sounds]
    write_csv(folder / "sources.csv", ("source", "class_id", "file", "seed", "part"), rows)
    rows = [
        (clip_id, f"{one.onset_s:.4f}", f"{one.offset_s:.4f}", one.class_id, f"{one.snr_db:.2f}", one.source)
        for clip_id, heard in events.items()
        for one in heard
    ]
    write_csv(folder / "events.csv", ("clip_id", "onset_s", "offset_s", "class_id", "snr_db", "source"), rows)
    rows = [(clip_id, *slip) for clip_id, annotation in annotations.items() for slip in annotation.dropped]
    write_csv(folder / "dropped.csv", ("clip_id", "class_id", "why"), rows)
    tally = annotator.tally(annotations.values())
    write_csv(folder / "annotator.csv", tally[0], (row.values() for row in tally))
    write_csv(folder / "skipped_sounds.csv", ("file", "reason"), table.skipped)


def summary(corpus: Corpus, options: SimulateOptions, work: Path) -> str:
    """Return what a user wants to know of a corpus in a few lines."""
    vocabulary, annotations = corpus.annotator.vocabulary, corpus.annotations.values()
    n_true, n_given = (sum(len(getattr(one, which)) for one in annotations) for which in ("truth", "given"))
    why = Counter(reason for one in annotations for _, reason in one.dropped)
    n_missing = sum(why[reason] for reason in WHY[:3])
    n_used, n_sources = (len({getattr(one, key) for one in corpus.table.sounds}) for key in ("class_id", "source"))
    hours = len(corpus.events) * options.scene.duration_s / 3600
    kind = "recorded" if corpus.table.sounds[0].file else "synthesised"
    shares = []
    for row in corpus.annotator.tally(annotations):
        if row["n_true"]:
            shares.append((sum(row[f"n_{reason}"] for reason in WHY[:3]) / row["n_true"], row["name"]))
    shares.sort(key=lambda share: (-share[0], share[1]))
    lines = [
        f"sounds   {n_sources} {kind} sources of {n_used} classes; with their ancestors {len(vocabulary)} classes",
        f"scenes   {options.scenes} full in five pools ({corpus.n_balanced} of them balanced), {options.validation} "
        f"validation, {options.eval} eval: {hours:.1f} h",
        f"labels   {n_true} true, {n_given} given; missing {n_missing / n_true:.1%}: "
        + ", ".join(f"{reason} {why[reason] / n_true:.1%}" for reason in WHY[:3])
        + f"; false {why['false'] / n_given:.1%} of those given",
        "missing  most: " + ", ".join(f"{name} {share:.0%}" for share, name in shares[:3])
        + "; least: " + ", ".join(f"{name} {share:.0%}" for share, name in shares[:-4:-1]),
    ]  # fmt: skip
    if corpus.table.left_out:
        reasons = first_few((f"{name} ({reason})" for name, reason in corpus.table.left_out.items()), 8)
        lines.append(f"left out {len(corpus.table.left_out)} classes: {reasons}")
    if corpus.table.skipped:
        reasons = first_few(f"{file} ({reason})" for file, reason in corpus.table.skipped)
        lines.append(f"skipped  {len(corpus.table.skipped)} recordings: {reasons}; see {work / 'skipped_sounds.csv'}")
    return "\n".join([*lines, f"wrote    {work / 'scenes'}, labels.csv, truth.csv and {len(TABLES) - 2} more"])


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the verb."""
    parser = verb_parser("simulate", __doc__)
    default, scene, annotator = SimulateOptions(), SceneOptions(), AnnotatorOptions()
    add, count = parser.add_argument, positive_int
    add("--sounds", type=Path, metavar="FOLDER", help="isolated recordings (default: synthesised sounds)")
    add("--sound-labels", type=Path, metavar="CSV", help="their classes: ESC-50's table, or file,class[,source]")
    add("--classes", nargs="+", default=[], metavar="CLASS", help="ids, names, `demo` (ten synthesised) or `all`")
    add("--balanced", type=count, metavar="N", help="scenes of the balanced list (default: a fifth of --scenes)")
    for flag, kind, value, meaning in (
        ("--scenes", count, default.scenes, "full training scenes"),
        ("--validation", count, default.validation, "validation scenes"),
        ("--eval", count, default.eval, "evaluation scenes"),
        ("--duration", float, scene.duration_s, "seconds a scene"),
        ("--sample-rate", count, scene.sample_rate, "Hz"),
        ("--sources", count, default.sources, "synthesised sources a class"),
        ("--min-sources", count, default.min_sources, "leave out recorded classes with fewer sources"),
        ("--imbalance", float, default.imbalance, "exponent of the class priors of the full list; 0 is even"),
        ("--seed", int, default.seed, "everything random follows from it"),
        ("--processes", count, allowed_cores(), "never changes the result"),
    ):
        add(flag, type=kind, default=value, metavar="N", help=f"{meaning} (default: %(default)s)")
    for flag, kind, value, meaning in (
        ("--events", int, scene.events, "events a scene"),
        ("--snr", float, scene.snr_db, "dB of an event over the background"),
    ):
        shown = f"{meaning} (default: {value[0]:g} {value[1]:g})"
        add(flag, type=kind, nargs=2, default=value, metavar=("LOW", "HIGH"), help=shown)
    for name, mean in asdict(annotator).items():
        meaning = f"mean probability of a {name.replace('_', ' ')}; the classes' own are drawn widely around it"
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=probability, default=mean, metavar="P", help=f"{meaning} (default: {mean:g})")
    return parser


def options_of(args: argparse.Namespace) -> SimulateOptions:
    """Return what the command line asks for."""
    return SimulateOptions(
        scenes=args.scenes,
        balanced=args.balanced,
        validation=args.validation,
        eval=args.eval,
        classes=tuple(args.classes),
        sources=args.sources,
        min_sources=args.min_sources,
        imbalance=args.imbalance,
        seed=args.seed,
        scene=SceneOptions(args.duration, args.sample_rate, tuple(args.events), tuple(args.snr)),
        annotator=AnnotatorOptions(args.missing_child, args.missing_parent, args.missed_event, args.false_label),
    )


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the corpus, after checking what can be known."""
    options = options_of(args)
    dry_run.refuse_absent(args.sounds, args.sound_labels)
    if None in (args.sounds, args.sound_labels):
        collect_sounds(options, Vocabulary.load("audioset"), args.sounds, args.sound_labels, args.strict)
    refuse_others(args.work, args.overwrite, clear=False)
    dry_run.promise(args.work, SCENES, *TABLES)
    return f"would write {args.work / SCENES}: {sum(options.sizes.values())} scenes, and their lists"


def run(args: argparse.Namespace) -> None:
    """Make the corpus that the options ask for and print its summary."""
    options = options_of(args)
    inputs = Inputs()
    inputs.read(args.sound_labels)
    record = run_record("simulate", vars(args), inputs, args.seed)
    corpus = simulate(
        args.work, options, args.sounds, args.sound_labels, args.processes, args.overwrite, args.strict, record
    )
    print(summary(corpus, options, args.work))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m pseudolabel.simulate`."""
    return run_verb(build_parser(), run, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
