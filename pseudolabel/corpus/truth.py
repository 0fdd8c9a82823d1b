"""The truth of a simulated corpus: every event and true label, the labels its annotator gave, and why they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pseudolabel.artefacts import write_csv
from pseudolabel.corpus.annotator import WHY, Annotation, Annotator
from pseudolabel.corpus.mixing import part_of
from pseudolabel.corpus.outputs import ANNOTATOR, DROPPED, EVENTS, LABEL_FILES, SKIPPED_SOUNDS, SOURCES
from pseudolabel.corpus.scenes import Event
from pseudolabel.corpus.sources import SoundTable
from pseudolabel.errors import first_few
from pseudolabel.labels.table import LabelTable
from pseudolabel.layout import BALANCED, CLASS_ID, CLIP_ID, GROUPS, SCENES, TRUTH, VOCABULARY


@dataclass(frozen=True)
class Corpus:
    """A simulated corpus: events and labels of every clip, by clip id.

    Attributes:
        sounds: isolated sounds that it was mixed from, and those left out.
        events: {clip id: events}.
        annotations: {clip id: true and given labels}.
        annotator: the annotator who gave them.
        balanced: clips of the balanced list.
    """

    sounds: SoundTable
    events: dict[str, list[Event]]
    annotations: dict[str, Annotation]
    annotator: Annotator
    balanced: tuple[str, ...] = ()

    def clip_ids(self, list_name: str) -> list[str]:
        """Return the clips of a list: `full`, `validation` or `eval`."""
        return [clip_id for clip_id in self.events if clip_id.startswith(f"{list_name}-")]

    def given(self, clip_ids: Iterable[str]) -> LabelTable:
        """Return the labels that the annotator gave these clips."""
        clip_ids = list(clip_ids)
        labels = [self.annotations[clip_id].given for clip_id in clip_ids]
        return LabelTable.from_sets(clip_ids, labels, self.annotator.vocabulary)

    def write(self, folder: Path) -> None:
        """Write the tables of the corpus."""
        vocabulary, clips = self.annotator.vocabulary, self.annotations
        vocabulary.write(folder / VOCABULARY)
        truth = [annotation.truth for annotation in clips.values()]
        LabelTable.from_sets(list(clips), truth, vocabulary).write(folder / TRUTH)
        for list_name, file in LABEL_FILES.items():
            self.given(self.clip_ids(list_name)).write(folder / file)
        self.given(self.balanced).write(folder / BALANCED)

        names = [(clip_id, *clip_id.split("-")) for clip_id in self.events]
        rows = [(clip_id, f"{SCENES}/{clip_id}.flac", part_of(name, int(n)), name) for clip_id, name, n in names]
        write_csv(folder / GROUPS, (CLIP_ID, "file", "group", "list"), rows)
        rows = [(s.source, s.class_id, s.file, "" if s.file else s.seed, s.part) for s in self.sounds.sounds]
        write_csv(folder / SOURCES, ("source", CLASS_ID, "file", "seed", "part"), rows)
        rows = [
            (clip_id, f"{e.onset_s:.4f}", f"{e.offset_s:.4f}", e.class_id, f"{e.snr_db:.2f}", e.source)
            for clip_id, events in self.events.items()
            for e in events
        ]
        write_csv(folder / EVENTS, (CLIP_ID, "onset_s", "offset_s", CLASS_ID, "snr_db", "source"), rows)
        rows = [(clip_id, *slip) for clip_id, annotation in clips.items() for slip in annotation.dropped]
        write_csv(folder / DROPPED, (CLIP_ID, CLASS_ID, "why"), rows)
        tally = self.annotator.tally(clips.values())
        write_csv(folder / ANNOTATOR, tally[0], (row.values() for row in tally))
        write_csv(folder / SKIPPED_SOUNDS, ("file", "reason"), self.sounds.skipped)

    def summary(self, folder: Path, duration_s: float) -> list[str]:
        """Summarise the corpus in a few lines for the user; `folder` holds it, and its scenes last `duration_s`."""
        annotations, n_classes = self.annotations.values(), len(self.annotator.vocabulary)
        n_true, n_given = (sum(len(getattr(one, which)) for one in annotations) for which in ("truth", "given"))
        why = Counter(reason for one in annotations for _, reason in one.dropped)
        n_used, n_sources = (len({getattr(one, key) for one in self.sounds.sounds}) for key in ("class_id", "source"))
        n = {name: len(self.clip_ids(name)) for name in LABEL_FILES}
        kind = "recorded" if self.sounds.sounds[0].file else "synthesised"
        missing = ", ".join(f"{reason} {why[reason] / n_true:.1%}" for reason in WHY[:3])
        shares = [
            (sum(row[f"n_{reason}"] for reason in WHY[:3]) / row["n_true"], row["name"])
            for row in self.annotator.tally(annotations)
            if row["n_true"]
        ]
        shares.sort(key=lambda share: (-share[0], share[1]))
        most, least = (", ".join(f"{name} {share:.0%}" for share, name in end) for end in (shares[:3], shares[:-4:-1]))
        lines = [
            f"sounds   {n_sources} {kind} sources of {n_used} classes; with their ancestors {n_classes} classes",
            f"scenes   {n['full']} full in five pools ({len(self.balanced)} of them balanced), {n['validation']} "
            f"validation, {n['eval']} eval: {len(self.events) * duration_s / 3600:.1f} h",
            f"labels   {n_true} true, {n_given} given; missing {sum(why[reason] for reason in WHY[:3]) / n_true:.1%}: "
            f"{missing}; false {why['false'] / n_given:.1%} of those given",
            f"missing  most: {most}; least: {least}",
        ]
        left_out, skipped = self.sounds.left_out, self.sounds.skipped
        if left_out:
            reasons = first_few((f"{name} ({reason})" for name, reason in left_out.items()), 8)
            lines.append(f"left out {len(left_out)} classes: {reasons}")
        if skipped:
            reasons = first_few(f"{file} ({reason})" for file, reason in skipped)
            lines.append(f"skipped  {len(skipped)} recordings: {reasons}; see {folder / SKIPPED_SOUNDS}")
        return lines
