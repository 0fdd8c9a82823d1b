"""`train import`: make a run folder from weights that the authors of PSLA, AST or PSL published."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder, write_text
from pseudolabel.blocks import only_run
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CONFIG, RUN, RUNS, TEACHER, WEIGHTS
from pseudolabel.options import COUNT, VerbOptions, option
from pseudolabel.ownership import refuse_foreign, refuse_input_as_output
from pseudolabel.records import Inputs, run_record, write_run_record

VERB, CARD = "train import", "README.md"


@dataclass(frozen=True, kw_only=True)
class ImportOptions(VerbOptions):
    """Which published weights to import, and how the model treats clips of any length."""

    file: Path = option(help="weights of PSLA, AST or PSL", positional=True)
    out: Path | None = option(None, "run folder (default: WORK/runs/teacher)")
    kind: str | None = option(None, "refuse any other (default: by the tensors' names)", choices=("psla", "ast", "psl"))
    sha256: str | None = option(None, "checksum that the file must have")
    vocabulary: str | None = option(
        None, "its classes in its order (default: audioset where it answers 527, fsd50k where it answers 200)"
    )
    frames: int | None = option(
        None,
        "pad shorter clips to this many frames (default: as published, PSLA 1056, for FSD50K 3000); AST: its extent "
        "(default: 1024)",
        COUNT,
        metavar="F",
    )
    cut: bool = option(False, "cut longer clips there, as the authors' programs do (default: score them to their end)")

    @property
    def folder(self) -> Path:
        """The run folder to write."""
        return self.out or self.work / RUNS / TEACHER


def plan_import(options: ImportOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the run folder."""
    dry_run.refuse_absent(options.file)
    refuse_input_as_output(options.folder, (options.file, options.vocabulary))
    from pseudolabel.models.checkpoints import check_sha256
    from pseudolabel.models.published import check_frames

    check_frames(options.frames)
    if options.vocabulary is not None:
        Vocabulary.load(options.vocabulary)
    if options.sha256 and options.file.is_file():
        check_sha256(options.file, options.sha256)
    dry_run.refuse_folder(options.folder, options.overwrite, VERB)
    dry_run.promise(options.folder, WEIGHTS, CONFIG, CARD, RUN)
    return f"would write {options.folder}: the model in {options.file}"


def import_model(options: ImportOptions) -> None:
    """Make a run folder from a published file."""
    out = options.folder
    refuse_input_as_output(out, (options.file, options.vocabulary))
    refuse_foreign(out, options.overwrite, VERB)
    from pseudolabel.models import save_model
    from pseudolabel.models.networks import n_parameters
    from pseudolabel.models.published import load_published

    inputs = Inputs()
    path, vocabulary = inputs.read(options.file), inputs.read(options.vocabulary)
    tagger = load_published(path, options.kind, options.sha256, vocabulary, options.frames, options.cut)
    size, lengths = n_parameters(tagger.network), lengths_beside_theirs(tagger)
    with only_run(out), whole_folder(out, options.overwrite, VERB) as folder:
        save_model(folder, tagger)
        record = run_record("train", asdict(options), inputs) | {"verb": VERB}
        write_text(folder / CARD, _card(options.file.name, record["inputs"][str(path)], tagger, size, lengths))
        write_run_record(folder, {"row": "published", "n_parameters": size, **record})
    print(
        f"wrote {out}: {tagger.config['name']}, {size / 1e6:.2f} M parameters, {len(tagger.class_ids)} classes; what "
        f"it was trained on is not recorded: clips that it has seen are scored in-sample\n{lengths}"
    )


def lengths_beside_theirs(tagger) -> str:
    """Return what a converted model does with clips of any length, and what the other option would do."""
    from pseudolabel.models.lengths import lengths_in_words, lengths_of

    own = lengths_in_words({**tagger.config, **lengths_of(tagger)})
    if tagger.config["max_frames"]:
        return f"{own} So does its authors' program (`--cut`); converted without, the model scores clips to their end."
    if tagger.config["name"] == "mobilenetv2":  # PSL's program cuts nothing
        return own
    return f"{own} Its authors' program cuts them there instead; converted with `--cut`, the model does so too."


def _card(file_name: str, digest: str, tagger, size: int, lengths: str) -> str:
    config = tagger.config
    first, last = config["class_names"][0], config["class_names"][-1]
    return f"""# {config["name"]}, converted from {file_name}

{size:,} parameters, {len(tagger.class_ids)} classes, audio at {config["sample_rate"]:,} Hz. The sha256 of \
{file_name} is {digest}. What it was trained on is not recorded.

{lengths}

The classes, in the order of the scores, are `class_ids` of config.json: {first} first, {last} last.
"""
