"""Judge labels and soft targets of windows by events with onset and offset: `evaluate labels`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pseudolabel import cli, dry_run
from pseudolabel.blocks import only_run
from pseudolabel.command import Command
from pseudolabel.errors import InputError
from pseudolabel.evaluate_events import (
    EventOptions,
    clips_of,
    common_clips,
    event_paths,
    frames_of,
    lengths_of,
    output_of,
    read_event_table,
    shortest_of,
)
from pseudolabel.formatting import fraction, plural
from pseudolabel.labels.judging import ERRORS, JUDGED
from pseudolabel.labels.ledger import ledger_pieces
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import LABELS, LEDGER_CSV, METRICS_FILE, RESULTS, RUN
from pseudolabel.options import SHARE, option
from pseudolabel.ownership import refuse_foreign, refuse_input_as_output
from pseudolabel.plan_checks import check_ledger, check_lists, check_stores, check_vocabulary
from pseudolabel.records import Inputs, run_record
from pseudolabel.reports.label_quality import Judged, LabelQuality, results_terminal, write_label_quality
from pseudolabel.scores.label_quality import WindowTruth
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, length_s, parse_scale

FOLDER, WEAK = "label-quality", "weak labels"


@dataclass(frozen=True, kw_only=True)
class LabelQualityOptions(EventOptions):
    """Which labels and targets to judge, in windows of which lengths."""

    labels: Path | None = option(None, "weak labels of the clips (default: labels.csv beside the events)")
    enhanced: tuple[Path, ...] | None = option(
        None,
        "folders that enhanced these labels; without any: none (default: enhanced-* beside the labels)",
        empty=True,
    )
    windows: tuple[str, ...] = option((), "scales to judge in (default: all of the store)", parse=parse_scale)
    thresholds: tuple[float, ...] = option((0.1, 0.3, 0.5), "scores above it are labels; the last: for counts", SHARE)
    out: Path | None = option(None, "output folder (default: WORK/label-quality)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.scores) > 1:
            raise InputError("judges the targets of one store", "--scores", "Name one.")

    def folders(self, labels: Path) -> list[Path]:
        """Return the enhanced folders to judge."""
        if self.enhanced is not None:
            return list(self.enhanced)
        return sorted(path.parent for path in labels.parent.glob(f"enhanced-*/{LEDGER_CSV}"))


def _paths(options: LabelQualityOptions) -> tuple[list[Path], Path, Path]:
    scores, events = event_paths(options)
    return scores, events, cli.needed_file(options, options.labels, LABELS, "--labels", events, *scores)


# ---- the verb ---------------------------------------------------------------------------------------------------


def evaluate_labels(options: LabelQualityOptions) -> None:
    """Judge the labels and targets, write the folder and print its tables."""
    scores, events, labels = _paths(options)
    out = output_of(options, FOLDER, *scores, events, labels)
    with only_run(out):
        refuse_foreign(out, options.overwrite, "evaluate")
        inputs = Inputs()
        quality = judge(options, inputs)
        refuse_input_as_output(out, inputs.sha256)
        write_label_quality(out, quality, run_record("evaluate", asdict(options), inputs), options.overwrite)
    print(f"{results_terminal(quality)}\n\nwrote {out}: {plural(quality.n_clips, 'clip')}, "
          f"{len(quality.missing)} missing")  # fmt: skip


def judge(options: LabelQualityOptions, inputs: Inputs) -> LabelQuality:
    """Return how right the labels and targets are."""
    (path,), events_path, labels_path = _paths(options)
    vocabulary = Vocabulary.load(inputs.read(cli.vocabulary_source(options, events_path, labels_path, path)))
    table, remarks = read_event_table(options, inputs.read(events_path), vocabulary)
    weak = cli.read_labels(options, inputs.read(labels_path), vocabulary, own=options.labels is None)
    store = ScoreStore.open(inputs.read(path))
    clip_ids, missing, table, (store,) = common_clips(options, table, [store], events_path, labels_path)
    columns = np.unique(table.spans.column)
    if not len(columns):
        raise InputError(f"not one of the {len(clip_ids)} clips has an event", events_path)
    classes = [vocabulary.class_ids[column] for column in columns]
    lengths = lengths_of(options, clip_ids, clips_of(options, (events_path, path), inputs), inputs)
    if lengths is None:  # to the end of the shortest windows
        lengths = frames_of(store, shortest_of(store), vocabulary, clip_ids, classes, None)[0].lengths_s
    cut, n_cut = table.within(lengths, events_path)
    if n_cut:
        remarks.append(f"{plural(n_cut, 'event')} end after their clip and are cut there")
    spans = cut.of_classes(columns)
    given = [(WEAK, dense(weak, clip_ids, columns))]
    added = [each for folder in options.folders(labels_path)
             for each in additions(folder, clip_ids, vocabulary, columns, inputs)]  # fmt: skip
    judged, counts = [], {WEAK: np.count_nonzero(given[0][1], axis=1)}
    for scale in scales_of(options, store):
        frames, _ = frames_of(store, scale, vocabulary, clip_ids, classes, lengths)
        windows = WindowTruth.of(frames, spans)
        judged += judge_windows(scale, windows, given[0][1], added, options.thresholds)
        counts[f"scores, {scale}"] = windows.per_clip(options.thresholds[-1])
    counts["events"] = np.count_nonzero(spans.counts((len(clip_ids), len(columns))), axis=1)
    if absent := len(vocabulary) - len(columns):
        remarks.append(f"left out, without an event in these clips: {plural(absent, 'class')} of the vocabulary")
    return LabelQuality(
        judged, counts, options.thresholds[-1], len(columns), len(clip_ids), missing, tuple(map(str, remarks))
    )


def scales_of(options: LabelQualityOptions, store: ScoreStore) -> list[str]:
    """Return the scales to judge in, longest first."""
    for scale in options.windows:
        store.refuse_without(scale, "--windows")
    scales = options.windows or store.scales
    return sorted(scales, key=lambda scale: -(length_s(scale) or np.inf) if scale != CLIP else -np.inf)


def dense(labels: LabelTable, clip_ids: Sequence[str], columns: np.ndarray) -> np.ndarray:
    """Return the labels (N, K) bool of some clips and columns."""
    return labels.select(clip_ids).matrix.tocsc()[:, columns].toarray()


def additions(
    folder: Path, clip_ids: Sequence[str], vocabulary: Vocabulary, columns: np.ndarray, inputs: Inputs
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the additions (N, K) bool of an enhanced folder by type, then all of them; empty types are left out."""
    row_of = {clip_id: row for row, clip_id in enumerate(clip_ids)}
    column_of = {vocabulary.class_ids[column]: k for k, column in enumerate(columns)}
    by_type: dict[str, np.ndarray] = {error: np.zeros((len(clip_ids), len(columns)), bool) for error in ERRORS}
    for piece in ledger_pieces(inputs.read(folder / LEDGER_CSV), JUDGED, only=True):
        for clip_id, class_id, error in zip(*(piece[name].to_pylist() for name in JUDGED), strict=True):
            if clip_id in row_of and class_id in column_of:
                of_type = by_type.setdefault(error, np.zeros((len(clip_ids), len(columns)), bool))
                of_type[row_of[clip_id], column_of[class_id]] = True
    name = folder.name.removeprefix("enhanced-")
    for error, added in by_type.items():
        if added.any():
            yield f"{name}, type {error}", added
    yield name, np.any(list(by_type.values()), axis=0)


def judge_windows(
    scale: str,
    windows: WindowTruth,
    weak: np.ndarray,
    added: Sequence[tuple[str, np.ndarray]],
    thresholds: Sequence[float],
) -> Iterator[Judged]:
    """Yield the weak labels, each enhanced list and its additions by type, and the targets at each threshold."""
    yield Judged(WEAK, scale, windows.of_labels(weak))
    for name, of_folder in added:
        if ", type " in name:
            yield Judged(name, scale, windows.of_additions(of_folder, weak))
        else:
            yield Judged(name, scale, windows.of_labels(weak | of_folder))
    for threshold in thresholds:
        yield Judged(f"scores > {fraction(threshold, 2)}", scale, windows.of_targets(threshold))


def plan_labels(options: LabelQualityOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says."""
    scores, events, labels = _paths(options)
    folders = options.folders(labels)
    dry_run.refuse_absent(*scores, events, labels, *folders, options.lengths, options.clips, options.ontology)
    check_stores(ScoreStore, *scores)
    check_vocabulary(cli.vocabulary_source(options, events, labels, *scores))
    check_lists(options.format if options.events else None, events)
    for folder in folders:
        check_ledger(folder / LEDGER_CSV, JUDGED)
    out = output_of(options, FOLDER, *scores, events, labels)
    refuse_input_as_output(out, [*scores, events, labels, *folders])
    dry_run.refuse_folder(out, options.overwrite, "evaluate")
    dry_run.promise(out, METRICS_FILE, RESULTS, RUN)
    return f"would write {out}: {labels}, {scores[0]} and {plural(len(folders), 'enhanced list')} against {events}"


LABEL_QUALITY = Command(LabelQualityOptions, evaluate_labels, plan_labels)
