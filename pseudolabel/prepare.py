"""Decode recordings of any format into one clip store that training and scoring read at the speed of memory.

    python -m pseudolabel.prepare                                   # WORK/scenes -> WORK/clips.h5
    python -m pseudolabel.prepare --audio audioset/audio --eval eval_segments.csv
        --labels unbalanced_train_segments.csv.xz balanced_train_segments.csv --balanced balanced_train_segments.csv
    python -m pseudolabel.prepare --audio field-recordings --segments segments.csv      # file,start,end in seconds
    python -m pseudolabel.prepare --audio audioset/audio --add                          # what has come since
    python -m pseudolabel.prepare --stats kaldi_fbank               # mean and std that `train --front-end` takes

Clips are mono, at one sample rate, of any length. --audio is a folder, searched in depth, of recordings of any format
and of tar shards (.tar); with --segments its recordings are long ones, and the table says which seconds are clips. A
recording that cannot be used is skipped and listed in skipped.csv with its reason; a labelled clip without audio keeps
its labels and is listed in missing.csv. Every recording is decoded to its end, whatever its header says; where the two
differ by more than 2 %, it is kept and skipped.csv says so. A recording whose name says that it is a listed clip
(Yabc.wav, abc_30.000_40.000.flac) gets the list's id. Label lists of any known form are written beside the store as
labels.csv (all of --labels together), balanced.csv, validation.csv and eval.csv, where the other verbs look for them;
--overwrite replaces such a list only where it is as prepare wrote it.
A killed run goes on where it was. --add decodes only what a finished store does not have yet and rewrites it: the
result is that of preparing everything at once.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel import cli, dry_run
from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.audio.clips import CODECS, FULL_SCALE, ClipStore, audio_start, write_clips
from pseudolabel.audio.decoding import (
    BLOCK_SIZE,
    KEPT,
    Decoded,
    EncodedAudio,
    Listed,
    collect,
    complete_store,
    decode_all,
    decoders,
    listing_sha256,
)
from pseudolabel.audio.encoding import Decoding
from pseudolabel.audio.files import AudioSource
from pseudolabel.audio.growing import read_pieces
from pseudolabel.audio.listing import find_audio, read_segments
from pseudolabel.blocks import SETTINGS, Blocks, only_run, remove_parts_of_finished
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.machine import allowed_cores
from pseudolabel.ownership import begins_with, has_format, refuse_existing, refuse_foreign_file
from pseudolabel.plan_checks import check_vocabulary
from pseudolabel.prepare_files import (
    LISTS,
    Reports,
    label_lists,
    lists_to_write,
    lists_written,
    missing_clips,
    own_lists,
    read_groups,
    recorded_lists,
)
from pseudolabel.progress import note
from pseudolabel.records import Inputs, run_record, sha256

if TYPE_CHECKING:
    from pseudolabel.labels.table import LabelTable

PASSES, MOST_SEGMENTS = 8, 4096  # how often a long recording is read for its segments; segments a block


@dataclass
class NamedRecordings:
    """Recordings with the clip ids of the lists.

    Args:
        files: {clip id: recording}, by clip id.
        aliases: {clip id in a list: clip id that the list found its recording under}.
        elsewhere: {clip id in a list: clip id} of those whose recording has the id of an earlier list.
    """

    files: dict[str, AudioSource]
    aliases: dict[str, str]
    elsewhere: dict[str, str]


def name_recordings(files: dict[str, AudioSource], lists: dict[str, LabelTable], folder: Path) -> NamedRecordings:
    """Give each recording the id of the clip that it is; where the lists differ, the first one's.

    Raises:
        ClipMismatch: two recordings may be one clip, or a list has one recording twice.
    """
    files, named, aliases, elsewhere = dict(files), set(), {}, {}
    for name, table in lists.items():
        matched = match_clips(table.clip_ids, files, folder)
        note(matched.report(f"recordings for {name}"))
        aliases |= matched.aliases
        for clip_id, known in matched.aliases.items():
            if known in named:
                elsewhere[clip_id] = known
            else:
                files[clip_id] = files.pop(known)
        named.update(clip_id for clip_id in matched.found if clip_id not in elsewhere)
    return NamedRecordings(dict(sorted(files.items())), aliases, elsewhere)


def listed_recordings(args: argparse.Namespace, inputs: Inputs) -> tuple[Path, dict[str, AudioSource]]:
    """Return where the recordings are, and {clip id: source} of them, sorted by clip id."""
    audio = args.audio or args.work / "scenes"
    found = read_segments(inputs.read(args.segments), audio) if args.segments else find_audio(audio)
    if not found:
        raise InputError("no recordings in this folder", audio, "Give --audio the folder that holds them.")
    return audio, found


def store_to_extend(args: argparse.Namespace, out: Path, decoding: Decoding) -> ClipStore | None:
    """Return the finished store that --add extends, where there is one.

    Raises:
        InputError: it was made in another way.
    """
    if not (args.add and out.exists()):
        return None
    store = ClipStore.open(out)
    for option, made, asked in (("sample-rate", store.sample_rate, decoding.sample_rate),
                                ("codec", store.codec, decoding.codec)):  # fmt: skip
        if made != asked:
            raise InputError(f"the store has {made}, not {asked}", f"--{option}", f"Give --{option} {made}.")
    if store.full_scale != FULL_SCALE:
        note(f"{out} keeps the scale of an earlier version, one step off at the loudest; --overwrite decodes all again")
    return store


@dataclass
class Clips:
    """All clips of the store to be written, by clip id: `old` ones copied, the others from `blocks`."""

    decoded: Decoded
    old: ClipStore | None
    blocks: Blocks

    def __post_init__(self) -> None:
        old, new = self.old, self.decoded
        rows = [] if old is None else zip(old.clip_ids, old.n_samples.tolist(), np.diff(old.offsets).tolist(),
                                          old.groups, range(len(old)), strict=True)  # fmt: skip
        fresh = ((clip_id, *sizes, None, -1) for clip_id, *sizes in zip(new.clip_ids, new.n_samples, new.n_bytes,
                                                                        strict=True))  # fmt: skip
        self.rows = list(heapq.merge(rows, fresh, key=lambda row: row[0]))
        self.clip_ids = [row[0] for row in self.rows]
        self.n_samples = [row[1] for row in self.rows]

    def groups(self, known: dict[str, str], sources: dict[str, AudioSource], segments: bool) -> list[str]:
        """Return each clip's group: as listed by clip id or file name, of segments the recording, else the clip."""
        groups = []
        for clip_id, _, _, group, _ in self.rows:
            if clip_id in sources and group is None:
                stem = sources[clip_id].stem
                group = stem if segments else clip_id
                group = known.get(clip_id, known.get(stem, group))
            groups.append(group)
        return groups

    def encoded(self) -> Iterator[np.ndarray]:
        """Yield the encoded clips in order, new ones that follow each other in large pieces."""
        fresh = EncodedAudio(self.blocks, sum(self.decoded.n_bytes))
        for is_new, rows in itertools.groupby(self.rows, lambda row: row[4] < 0):
            rows = list(rows)
            n_bytes = sum(row[2] for row in rows)
            if is_new:
                yield from fresh.take(n_bytes)
            elif n_bytes:  # one after the other in the old store too
                yield from read_pieces(self.old.path, self.old.audio_start + int(self.old.offsets[rows[0][4]]), n_bytes)

    def crc32(self) -> list[int] | None:
        """Return the checksum that each clip's bytes must have; None where the old store has none."""
        if self.old.crc32 is None:
            return None
        fresh, old = iter(self.decoded.crc32), self.old.crc32
        return [next(fresh) if row[4] < 0 else int(old[row[4]]) for row in self.rows]


def check_found(
    args: argparse.Namespace, lists: dict[str, LabelTable], missing: list[tuple[str, str, str]], audio: Path
) -> str:
    """Return how many labelled clips have no audio; raise where a whole list has none, or `--strict` and one has."""
    labelled, silent = {i for table in lists.values() for i in table.clip_ids}, dict.fromkeys(row[0] for row in missing)
    without_audio = f"{len(silent)} of {len(labelled)} labelled clips have no audio"
    unheard = [name for name, table in lists.items() if len(table) and silent.keys() >= set(table.clip_ids)]
    if silent and (args.strict or unheard):
        in_full = f", all of {' and '.join(unheard)}" if unheard else ""
        raise ClipMismatch(f"{without_audio}{in_full}: {first_few(silent)}", audio,
                           "Check --audio and --labels: clip ids are file names without their suffix.")  # fmt: skip
    return without_audio


def prepare(args: argparse.Namespace) -> None:
    """Make clips.h5, and beside it the lists, skipped.csv and missing.csv, as the only run that does."""
    refuse_contradictions(args)
    out = args.out or args.work / "clips.h5"
    with only_run(out):
        if not (args.add or args.overwrite):
            remove_parts_of_finished(out, Reports(out).run)
        if not (args.stats and out.exists()) or args.add or args.overwrite:
            overwrite, ours = args.overwrite or args.add, has_format(ClipStore.FORMAT)
            prepare_alone(args, refuse_foreign_file(out, overwrite, ours, "a clip store"))
        if args.stats:
            write_statistics(args, out)


def refuse_contradictions(args: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    if args.add and args.overwrite:
        raise InputError("--add keeps the store that is there", "--overwrite", "Give one of them.")
    if args.front_end and not args.stats:
        raise InputError("says how --stats computes features", "--front-end", "Give --stats too.")


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the clip store, after checking what can be known."""
    refuse_contradictions(args)
    out, audio = args.out or args.work / "clips.h5", args.audio or args.work / "scenes"
    if args.stats and out.exists() and not (args.add or args.overwrite):
        return f"would write the {args.stats} statistics of {out}"
    given = [path for paths in (args.labels, args.balanced, args.validation, args.eval) for path in paths or ()]
    dry_run.refuse_absent(audio, args.segments, *given, args.groups)
    check_vocabulary(cli.vocabulary_source(args, None if own_lists(args) else args.out and out))
    overwrite, ours = args.overwrite or args.add, has_format(ClipStore.FORMAT)
    dry_run.refuse_output(out, overwrite, lambda: refuse_foreign_file(out, overwrite, ours, "a clip store"))
    dry_run.promise(out, sample_rate=args.sample_rate)
    for name in LISTS:
        if getattr(args, Path(name).stem):
            dry_run.promise(out.with_name(name))
    return f"would write {out}: the recordings in {audio}"


def write_statistics(args: argparse.Namespace, path: Path) -> None:
    """Write and say the mean and standard deviation of a store's features, for the front end's normalisation."""
    cli.import_torch()
    from pseudolabel.audio.frontend import build_frontend
    from pseudolabel.audio.frontend_options import lengths_in_seconds
    from pseudolabel.audio.statistics import feature_statistics

    clips = ClipStore.open(path)
    given, line = lengths_in_seconds(dict(args.front_end), clips.sample_rate)
    note(line)
    options = {"name": args.stats, "sample_rate": clips.sample_rate, **given}
    found = feature_statistics(clips, build_frontend(options))
    out = path.with_name(f"{path.stem}.{args.stats}.json")
    refuse_foreign_file(out, True, begins_with('{\n  "front_end"'), "what --stats writes")
    write_json(out, {"front_end": options, **asdict(found)})
    print(f"{out}: {args.stats} of {found.n_clips} clips, {found.n_too_short} too short; "
          f"train --front-end mean={found.mean:.6g} std={found.std:.6g}")  # fmt: skip


def note_changed(found: dict[str, AudioSource], old: ClipStore | None) -> None:
    """Say which recordings changed after their clips were made: --add does not decode them again."""
    if old is None:
        return
    made = old.path.stat().st_mtime
    changed = [clip_id for clip_id, source in found.items() if clip_id in old.index and source.path.exists()
               and source.path.stat().st_mtime > made]  # fmt: skip
    if changed:
        note(f"{len(changed)} recordings changed after {old.path} was made, which keeps their former sound: "
             f"{first_few(changed)}; --overwrite decodes all again")  # fmt: skip


def refuse_unusable(args: argparse.Namespace, decoded: Decoded, n_files: int, audio: Path) -> None:
    """Raise InputError where a recording is unusable or damaged and `--strict`, or where not one can be used."""
    if decoded.skipped and args.strict:
        _, path, reason = decoded.skipped[0]
        raise InputError(f"recording {reason} ({len(decoded.skipped)} such files)", path, "Without --strict: skipped.")
    if not decoded.clip_ids and not args.add:
        raise InputError(f"not one of {n_files} recordings can be used; first: {decoded.skipped[0][2]}", audio)


def block_size(args: argparse.Namespace, n_files: int) -> int:
    """Return how many clips are made together: more segments, as a block reads a recording from its beginning."""
    return max(BLOCK_SIZE, min(n_files // PASSES, MOST_SEGMENTS)) if args.segments else BLOCK_SIZE


def prepare_alone(args: argparse.Namespace, out: Path) -> None:
    """Decode, write the lists, and the store last."""
    inputs, reports = Inputs(), Reports(out)
    audio, found = listed_recordings(args, inputs)
    beside_audio = args.audio and args.audio.absolute().parent
    groups = read_groups(inputs.read(cli.default_file(args, args.groups, "clips.csv", beside_audio, what="groups")))
    lists = label_lists(args, out, inputs)
    recordings = name_recordings(found, lists, audio)
    reports.refuse_foreign(inputs)
    to_write = {} if own_lists(args) else lists
    recorded = recorded_lists(out.parent)
    outdated = lists_to_write(out.parent, to_write, args.overwrite or args.add, inputs, recorded)
    decoding = Decoding(args.sample_rate, args.codec, args.limit_seconds)
    old = store_to_extend(args, out, decoding)
    if old is not None:
        decoding = replace(decoding, full_scale=old.full_scale)
    note_changed(recordings.files, old)
    files: Listed = [item for item in recordings.files.items() if old is None or item[0] not in old.index]
    settings = {**asdict(decoding), "files": listing_sha256(files), "audio_start": audio_start(), **decoders()}
    # What --add finds half made belongs to a run that ended, or to recordings that have changed: the store is whole.
    blocks = Blocks(out, len(files), block_size(args, len(files)), settings, restart=args.overwrite or old is not None)
    decode_all(files, blocks, decoding, args.processes)
    decoded = collect(blocks)
    refuse_unusable(args, decoded, len(files), audio)
    clips = Clips(decoded, old, blocks)
    missing = missing_clips(lists, set(clips.clip_ids), decoded.skipped, recordings.elsewhere, audio)
    without_audio = check_found(args, lists, missing, audio)
    for name in outdated:
        lists[name].write(out.with_name(name))
    write_csv(reports.skipped, ("clip_id", "file", "reason"), reports.with_earlier(decoded.skipped, old))
    write_csv(reports.missing, ("clip_id", "list", "reason"), missing)
    record = {
        **run_record("prepare", vars(args), inputs),
        **({} if old is not None else {"settings_sha256": sha256(blocks.folder / SETTINGS)}),
        "lists": lists_written(out.parent, outdated, recorded),
        "clips_under_another_id": len(recordings.aliases),
        "labels_left_out": {name: table.left_out for name, table in lists.items() if table.left_out},
    }
    write_json(reports.run, record)
    group_of = clips.groups(groups, recordings.files, bool(args.segments))
    if old is None:
        refuse_existing(out, args.overwrite)
        complete_store(blocks, decoded, group_of, decoding, audio.name)
    else:
        write_clips(out, clips.clip_ids, group_of, clips.n_samples, [row[2] for row in clips.rows], clips.encoded(),
                    decoding.sample_rate, decoding.codec, old.source, overwrite=True, crc32=clips.crc32(),
                    full_scale=old.full_scale)  # fmt: skip
    blocks.remove()  # the store comes last: where it is, all of it is
    say_what_was_made(out, clips, decoding, without_audio, reports)


def say_what_was_made(out: Path, clips: Clips, decoding: Decoding, without_audio: str, reports: Reports) -> None:
    """Print what the store holds, and what was left out."""
    decoded, old = clips.decoded, clips.old
    hours = sum(clips.n_samples) / decoding.sample_rate / 3600
    added = "" if old is None else f" ({len(decoded.clip_ids)} of them added)"
    print(
        f"wrote {out}: {len(clips.clip_ids)} clips{added}, {hours:.2f} h at {decoding.sample_rate} Hz, "
        f"{decoding.codec}; {decoded.scaled} beyond full scale were scaled down"
    )
    n_kept = sum(reason.startswith(KEPT) for _, _, reason in decoded.skipped)
    print(f"skipped {len(decoded.skipped) - n_kept} unusable recordings; {without_audio}")
    if n_kept:
        print(f"kept {n_kept} recordings that are not as long as their headers or segments say: see {reports.skipped}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    parser = cli.verb_parser("prepare", __doc__)
    parser.add_argument("--audio", type=Path, help="folder of recordings and tar shards (default: WORK/scenes)")
    parser.add_argument("--segments", type=Path, metavar="CSV", help="clips are these seconds of the recordings: "
                        "file,start,end and optionally clip_id")  # fmt: skip
    parser.add_argument("--add", action="store_true", help="decode only what the finished store has not; rewrites it")
    for name, purpose in (("labels", "training"), ("balanced", "balanced training"), ("validation", "held-out"),
                          ("eval", "evaluation")):  # fmt: skip
        parser.add_argument(f"--{name}", type=Path, nargs="+", metavar="LIST", help=f"label lists of {purpose} clips")
    parser.add_argument(
        "--groups", type=Path, help="CSV with clip_id,group (default: clips.csv beside the folder of --audio)"
    )
    parser.add_argument("--vocabulary", help="audioset, fsd50k, esc50 or CSV (default: WORK/vocabulary.csv, audioset)")
    cli.add_label_options(parser)
    parser.add_argument("--sample-rate", type=cli.positive_int, default=16000, help="Hz (default: 16000)")
    parser.add_argument("--codec", choices=CODECS, default="pcm16", help="pcm16 is fast, flac small (default: pcm16)")
    parser.add_argument("--limit-seconds", type=cli.positive, help="keep only the first so many seconds of a recording")
    parser.add_argument(
        "--processes", type=cli.positive_int, default=allowed_cores(), help="default: the cores it may use"
    )
    parser.add_argument("--stats", choices=("log_mel", "kaldi_fbank"), help="mean and standard deviation of these "
                        "features of all clips, of the store that is there or is made")  # fmt: skip
    parser.add_argument("--front-end", type=cli.key_value, nargs="+", default=[], metavar="NAME=VALUE",
                        help="of --stats, e.g. n_mels=64 hop_s=.02")  # fmt: skip
    parser.add_argument("--out", type=Path, help="clip store (default: WORK/clips.h5)")
    return cli.run_verb(parser, prepare, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
