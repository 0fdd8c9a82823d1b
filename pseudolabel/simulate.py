"""Mix a corpus with known truth, and label it as a careless annotator would.

    python -m pseudolabel.simulate
    python -m pseudolabel.simulate --scenes 5000 --classes all --seed 7
    python -m pseudolabel.simulate --annotator C
    python -m pseudolabel.simulate --sounds ESC-50/audio --sound-labels ESC-50/meta/esc50.csv

Isolated sounds, synthesised or recorded, are mixed into scenes of a few events over background noise. Training scenes
fall into five pools that share no source, so a teacher can be cross-validated by `group`; validation and eval share no
source with them either. Written to --work:

  scenes/*.flac, clips.csv      the scenes; clip_id,file,group,list
  sources.csv, events.csv       which sound went into which part, and which sounds occur when in which scene
  vocabulary.csv, truth.csv     the classes with all their ancestors in AudioSet, and every true label
  labels.csv, balanced.csv      the careless annotator's labels of the full training list, and an evenly drawn fifth
  validation.csv, eval.csv      the same annotator's labels of the other two lists
  dropped.csv, annotator.csv    why each wrong label is wrong; the probabilities behind it, class by class
  skipped_sounds.csv, run.json  recordings that could not be used; how this corpus was made

A killed run, started again, makes only the missing scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pseudolabel import dry_run
from pseudolabel.artefacts import write_json
from pseudolabel.blocks import only_run
from pseudolabel.command import Command, run_command
from pseudolabel.corpus.annotator import Annotator, AnnotatorOptions
from pseudolabel.corpus.mixing import Recipe, class_priors, make_scenes, open_unfinished
from pseudolabel.corpus.outputs import PARTS_FOLDER, TABLES, publish_corpus, refuse_other_outputs
from pseudolabel.corpus.scenes import SceneOptions
from pseudolabel.corpus.sources import (
    PARTS,
    POOLS,
    SoundTable,
    check_recordings,
    divide,
    read_sound_table,
    sound_columns,
    synthesised_sounds,
)
from pseudolabel.corpus.truth import Corpus
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.splits import draw_balanced
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import RUN, SCENES
from pseudolabel.machine import allowed_cores
from pseudolabel.options import COUNT, PROCESSES, SEED, VerbOptions, nested, option
from pseudolabel.ownership import refuse_input_as_output
from pseudolabel.records import Inputs, run_record

# One stream of random numbers per purpose; each scene has its own, [seed, list number, scene number].
SYNTHESIS, DIVISION, PRIORS, ANNOTATOR, BALANCE = range(100, 105)


@dataclass(frozen=True, kw_only=True)
class SimulateOptions(VerbOptions):
    """How many scenes to make, of what."""

    sounds: Path | None = option(None, "folder of isolated recordings (default: synthesised sounds)", metavar="FOLDER")
    sound_labels: Path | None = option(None, "their classes: ESC-50's table, or file,class[,source]", metavar="CSV")
    classes: tuple[str, ...] = option(
        (),
        "ids, names, `demo` (ten) or `all` (default: demo; of recorded ones all)",
        metavar="CLASS",
    )
    scenes: int = option(2000, "full training scenes", COUNT, metavar="N")
    balanced: int | None = option(
        None, "scenes of the balanced list (default: a fifth of --scenes)", COUNT, metavar="N"
    )
    validation: int = option(200, "validation scenes", COUNT, metavar="N")
    eval: int = option(400, "evaluation scenes", COUNT, metavar="N")
    sources: int = option(40, "synthesised sources a class", COUNT, needs="!sounds", metavar="N")
    min_sources: int = option(len(PARTS), "leave out recorded classes with fewer sources", COUNT, metavar="N")
    # z of the class priors rank ** -z; priors in validation and eval are even
    imbalance: float = option(0.7, "exponent of the class priors of the full list; 0 is even", metavar="N")
    seed: int = option(0, "decides everything that is random (default: 0)", SEED, metavar="N")
    # In a script, more than one process needs `if __name__ == "__main__":` around the call: each imports the script.
    processes: int = option(
        rule=PROCESSES,
        factory=allowed_cores,
        help="never changes the result (default: the cores it may use)",
        metavar="N",
    )
    scene: SceneOptions = nested(SceneOptions)
    annotator: AnnotatorOptions = nested(AnnotatorOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scenes < len(POOLS):
            raise InputError(f"five pools need at least 5 scenes, not {self.scenes}", "--scenes")
        if self.balanced is not None and self.balanced > self.scenes:
            raise InputError(f"{self.balanced} of {self.scenes} scenes cannot be drawn", "--balanced")
        for flag, n_sources in (("--sources", self.sources), ("--min-sources", self.min_sources)):
            if n_sources < len(PARTS):
                message = f"five pools, validation and eval need 7 sources a class, not {n_sources}"
                raise InputError(message, flag)
        if not 0 <= self.imbalance <= 5:
            raise InputError(f"an exponent is between 0 and 5, not {self.imbalance:g}", "--imbalance")
        if (self.sounds is None) != (self.sound_labels is None):
            remedy = "Give --sounds FOLDER and --sound-labels CSV."
            raise InputError("recordings need a class table", "--sounds", remedy)

    @property
    def sizes(self) -> dict[str, int]:
        """Scenes of each list."""
        return {"full": self.scenes, "validation": self.validation, "eval": self.eval}

    def stream(self, purpose: int) -> int:
        """Return the seed for one purpose."""
        return int(np.random.SeedSequence([self.seed, purpose]).generate_state(1, np.uint64)[0])


def simulate(options: SimulateOptions) -> Corpus:
    """Write a corpus into the work folder; its bytes do not depend on the number of processes.

    Raises:
        OutputExists: an output exists and may not be overwritten.
        InputError: the class table is wrong, no class has enough sources, or, with `strict`, a recording is missing or
            damaged.
    """
    work, inputs = options.work, Inputs()
    with only_run(work / "simulate"):
        for name in (SCENES, *TABLES):
            refuse_input_as_output(work / name, [options.sounds, options.sound_labels])
        refuse_other_outputs(work, options.overwrite)
        inputs.read(options.sound_labels)
        return _simulate_alone(options, inputs)


def _simulate_alone(options: SimulateOptions, inputs: Inputs) -> Corpus:
    audioset, ontology = Vocabulary.load("audioset"), Ontology.load()
    sounds = collect_sounds(options, audioset)
    used = audioset.subset(sound.class_id for sound in sounds.sounds)
    rows = ontology.ancestors(audioset)[[audioset.index[class_id] for class_id in used.class_ids]]
    vocabulary = audioset.subset([*used.class_ids, *(audioset.class_ids[k] for k in rows.indices)])

    even = class_priors(len(used), 0.0, 0)
    uneven = class_priors(len(used), options.imbalance, options.stream(PRIORS))
    priors = {"full": uneven, "validation": even, "eval": even}
    sizes, seed = options.sizes, options.seed
    recipe = Recipe(tuple(sounds.sounds), options.sounds, options.scene, used.class_ids, priors, sizes, seed)
    parts = open_unfinished(options.work / PARTS_FOLDER, recipe)
    events = make_scenes(recipe, parts, options.processes)

    ancestors = ontology.ancestors(vocabulary)
    annotator = Annotator.draw(vocabulary, ancestors, used.class_ids, options.annotator, options.stream(ANNOTATOR))
    annotations = {
        clip_id: annotator.annotate(clip_id, [event.class_id for event in found], [event.snr_db for event in found])
        for clip_id, found in events.items()
    }
    corpus = Corpus(sounds, events, annotations, annotator)
    n_balanced = options.balanced or max(round(options.scenes / 5), 1)
    rng = np.random.default_rng(options.stream(BALANCE))
    balanced = draw_balanced(corpus.given(corpus.clip_ids("full")), n_balanced, rng)
    corpus = replace(corpus, balanced=tuple(balanced))
    corpus.write(parts)
    write_json(parts / RUN, run_record("simulate", asdict(options), inputs, options.seed))
    publish_corpus(parts, options.work)
    return corpus


def collect_sounds(options: SimulateOptions, audioset: Vocabulary) -> SoundTable:
    """Return the sounds to mix, each with its part, and what was left out and why."""
    named = () if options.classes in (("demo",), ("all",)) else options.classes
    wanted = [audioset.find(text, "--classes") for text in named]
    if options.sounds is None:
        table = SoundTable(_synthesised(options, audioset, wanted))
    else:
        table = _recorded(options, audioset, wanted)
    kept, too_few = divide(table.sounds, options.min_sources, options.stream(DIVISION))
    left_out = {**table.left_out, **too_few}
    left_out = {audioset.names[audioset.index[c]] if c in audioset.index else c: why for c, why in left_out.items()}
    if not kept:
        most = first_few(f"{name} ({why})" for name, why in left_out.items()) or "no recording is of a wanted class"
        message = f"not one class has {options.min_sources} sources; {most}"
        raise InputError(message, options.sound_labels, "Give more recordings, or other --classes.")
    return SoundTable(kept, left_out, table.skipped)


def _synthesised(options: SimulateOptions, audioset: Vocabulary, wanted: list[str]) -> list:
    from pseudolabel.corpus.synthesis import DEMO_CLASSES, SYNTHESISERS

    unknown = [audioset.names[audioset.index[class_id]] for class_id in wanted if class_id not in SYNTHESISERS]
    if unknown:
        names = ", ".join(audioset.names[audioset.index[class_id]] for class_id in SYNTHESISERS)
        raise InputError(f"no synthesiser for {first_few(unknown)}", "--classes", f"There are: {names}.")
    chosen = audioset.subset(wanted or (SYNTHESISERS if options.classes == ("all",) else DEMO_CLASSES))
    names = dict(zip(chosen.class_ids, chosen.names, strict=True))
    return synthesised_sounds(names, options.sources, options.stream(SYNTHESIS))


def _recorded(options: SimulateOptions, audioset: Vocabulary, wanted: list[str]) -> SoundTable:
    table = read_sound_table(options.sounds, options.sound_labels, audioset, options.strict)
    if wanted:
        table.sounds = [sound for sound in table.sounds if sound.class_id in wanted]
    _, too_few = divide(table.sounds, options.min_sources, options.stream(DIVISION))
    table.sounds = [sound for sound in table.sounds if sound.class_id not in too_few]
    table.left_out.update(too_few)
    return check_recordings(table, options.sounds, options.scene, options.strict)


def plan(options: SimulateOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says."""
    dry_run.refuse_absent(options.sounds, options.sound_labels)
    if options.sounds is None:
        collect_sounds(options, Vocabulary.load("audioset"))
    elif options.sound_labels.exists():
        sound_columns(options.sound_labels)
    refuse_other_outputs(options.work, options.overwrite, clear=False)
    dry_run.promise(options.work, SCENES, *TABLES)
    return f"would write {options.work / SCENES}: {sum(options.sizes.values())} scenes, and their lists"


def run(options: SimulateOptions) -> None:
    """Make the corpus and print its summary."""
    print("\n".join(simulate(options).summary(options.work, options.scene.duration_s)))
    print(f"wrote    {options.work / SCENES}, labels.csv, truth.csv and {len(TABLES) - 2} more")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("simulate", __doc__, Command(SimulateOptions, run, plan), argv)


if __name__ == "__main__":
    raise SystemExit(main())
