"""Options of `release`: what to release, check or compare, and what the documents say."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from pseudolabel import cli
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.balancing import DEFAULT_BETA
from pseudolabel.labels.readers import clip_id_of
from pseudolabel.options import METADATA, NON_NEGATIVE, ListOptions, Options, VerbOptions, flags_of, nested, option
from pseudolabel.releases.citation import licence_of, usual_licence
from pseudolabel.releases.facts import refuse_texts
from pseudolabel.scores.windows import parse_window


@dataclass(frozen=True, kw_only=True)
class CreditOptions(Options):
    """What the documents of any release say beside its figures."""

    title: str | None = option(None, "one line for people")
    version: str = option("1.0.0", "of the release", flag="--release-version", metavar="X.Y.Z")
    released: str = option("", "day, as 2026-01-31 (default: of labels, the day of the enhancement)", metavar="DAY")
    licence: str | None = option(None, "of labels, weights (default: CC-BY-4.0, or as the source asks)", metavar="SPDX")
    url: str = option("", "where the release will be")
    authors: tuple[str, ...] = option(
        (),
        "`Family, Given` of a person, or a group's name; may be repeated",
        flag="--author",
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.licence is not None:
            licence_of(self.licence)
        said = {name: value for name, value in vars(self).items() if value is not None}
        said["title"] = self.title or "labels"  # the documents make one
        refuse_texts(said, {each.name: flags_of(each)[0] for each in fields(self) if METADATA in each.metadata})


@dataclass(frozen=True, kw_only=True)
class DocumentOptions(CreditOptions):
    """What the documents of a release of labels say beside its figures."""

    name: str | None = option(None, "id of the release (default: SOURCE-enhanced-RULE)")
    source: str | None = option(None, "data set that the labels come from (default: the one of the list's form)")


@dataclass(frozen=True, kw_only=True)
class MakeOptions(VerbOptions):
    """What to make a release of labels from, and what it holds."""

    enhanced: Path | None = option(None, "what enhance wrote (default: the only WORK/enhanced-*)")
    out: Path | None = option(None, "folder to write (default: release-RULE beside what is released)")
    labels: Path | None = option(None, "the list that enhance read (default: where it was, or beside --enhanced)")
    lists: tuple[Path, ...] = option(
        (), "the source's own lists, whose further columns are kept (default: --labels)", flag="--list", metavar="LIST"
    )
    vocabulary: str | None = option(
        None, "audioset, fsd50k, esc50 or a CSV file (default: vocabulary.csv beside --enhanced, or a built-in one)"
    )
    format: str | None = option(None, "form of named lists (default: detected)", needs="labels|lists|evaluation")
    scores: Path | None = option(None, "the teacher's scores (default: where they were, or beside --enhanced)")
    soft: str | None = option(
        None,
        "also write soft targets as this type: the teacher's scores (targets.h5) or, of precision:P, the probabilities "
        "that enhance --soft wrote (probabilities.h5)",
        choices=("float32", "float16", "uint8"),
    )
    soft_windows: tuple[str | float, ...] = option(
        (), "scales of the soft targets: clip (the default), 10s, 5s, 2s", parse=parse_window, metavar="SCALE"
    )
    beta: float = option(DEFAULT_BETA, "exponent of the max rule's sampling weights", NON_NEGATIVE)
    wav: str = option("{clip_id}.wav", "recordings in psla.json", metavar="PATH")
    precision: Path | None = option(None, "precision.json of `review estimate`", metavar="FILE")
    evaluation: Path | None = option(
        None,
        "evaluation clips; the card says whether their labels changed (default: eval.csv beside --enhanced)",
        metavar="LIST",
    )
    teacher: tuple[Path, ...] = option(
        (),
        "the teacher's run folders, which list the clips it was trained on (default: runs/teacher beside --enhanced)",
        metavar="RUN",
    )
    documents: DocumentOptions = nested(DocumentOptions, "what the documents say")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.soft_windows and not self.soft:
            raise InputError("says which scores --soft writes", "--soft-windows", "Give --soft too.")
        if len(set(self.soft_windows)) < len(self.soft_windows):
            raise InputError("a scale is listed twice", "--soft-windows", "Name each once.")
        if clip_id_of(self.wav).count("{clip_id}") != 1:
            message = f"a recording's name must have the clip's id, and {self.wav!r} does not"
            raise InputError(message, "--wav", "Write it as /audio/{clip_id}.flac.")

    @property
    def folder(self) -> Path:
        """The enhancement: the given one, or the only one in WORK."""
        if self.enhanced:
            return self.enhanced
        folders = sorted(path for path in self.work.glob("enhanced-*") if path.is_dir())
        if len(folders) != 1:
            what = f"{len(folders)} enhanced folders: {first_few(folders)}" if folders else "no folder enhanced-*"
            raise InputError(what, self.work, "Give --enhanced.")
        return folders[0]

    @property
    def output(self) -> Path:
        """The folder to write."""
        name = f"release-{self.folder.resolve().name.removeprefix('enhanced-')}"
        return self.out or cli.home(self, self.enhanced) / name

    @property
    def named(self) -> tuple[Path | None, ...]:
        """The files that the options name."""
        return (self.labels, *self.lists, self.scores, self.precision, self.evaluation, *self.teacher)


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(VerbOptions):
    """Which release, of labels or of a model, to check."""

    folder: Path = option(help="the release", positional=True, metavar="RELEASE")


@dataclass(frozen=True, kw_only=True)
class DiffOptions(VerbOptions, ListOptions):
    """Which label lists to compare."""

    lists: tuple[Path, Path] = option(
        help="release, folder that enhance wrote, or label list", positional=True, metavar="LIST"
    )
    ontology: Path | None = option(None, "ontology table or published ontology.json (default: AudioSet's)")
    out: Path | None = option(None, "folder for the differences as tables (default: they are only shown)")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(VerbOptions, CreditOptions):
    """Which model to release."""

    run: Path = option(help="run folder that train wrote", positional=True, metavar="RUN")
    out: Path | None = option(None, "folder to write (default: release-NAME in the run's WORK)")
    onnx: bool = option(False, "also for other runtimes, compared with PyTorch")
    evaluation: Path | None = option(
        None, "of evaluate, with figures of this model (default: WORK/evaluation, if it has any)", metavar="FOLDER"
    )

    @property
    def output(self) -> Path:
        """The folder to write."""
        return self.out or cli.home(self, self.run) / f"release-{self.run.resolve().name}"

    @property
    def credit(self) -> dict[str, object]:
        """What the documents say beside figures."""
        said = {field.name: getattr(self, field.name) for field in fields(CreditOptions)}
        return {**said, "licence": self.licence or usual_licence("")}
