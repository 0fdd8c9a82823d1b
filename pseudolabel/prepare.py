"""Decode recordings of any format into one clip store, which training and scoring read at memory speed.

    python -m pseudolabel.prepare                                   # WORK/scenes -> WORK/clips.h5
    python -m pseudolabel.prepare --audio audioset/audio --eval eval_segments.csv
        --labels unbalanced_train_segments.csv.xz balanced_train_segments.csv --balanced balanced_train_segments.csv
    python -m pseudolabel.prepare --audio field-recordings --segments segments.csv      # file,start,end in seconds
    python -m pseudolabel.prepare --audio data/bal_train*.parquet --labels data/bal_train*.parquet   # from the HF hub
    python -m pseudolabel.prepare --audio audioset/audio --add                          # new recordings only
    python -m pseudolabel.prepare --stats kaldi_fbank               # mean and std that `train --front-end` takes

Clips are mono, at one sample rate, of any length. --audio is a folder, searched recursively for recordings of any
format, tar shards (.tar) and Parquet files with a column `audio` (.parquet), or such files; with --segments it holds
long recordings, and the table lists which seconds of them are clips. Copies of a recording, byte for byte and of one
name, are one clip; different recordings of one name are an error. An unusable recording is skipped and listed in
skipped.csv with the reason; a labelled clip without audio keeps its labels and is listed in missing.csv. Every
recording is decoded to its end, whatever its header says; if the two differ by more than 2 %, the clip is kept and
skipped.csv says so. A recording whose name identifies a listed clip (Yabc.wav, abc_30.000_40.000.flac) gets the list's
id. Label lists in any known form are written beside the store as labels.csv (all of --labels together), balanced.csv,
validation.csv and eval.csv, where the other verbs look for them; --overwrite replaces such a list only if it is as
prepare wrote it.
A killed run continues when it is started again. --add decodes only what a finished store lacks and rewrites the store;
the result is the same as preparing everything at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING

from pseudolabel import cli, dry_run
from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.audio.clip_blocks import (
    BLOCK_SIZE,
    KEPT,
    Decoded,
    collect,
    complete_store,
    decode_all,
    decoders,
    in_id_order,
    part_of_blocks,
    part_of_store,
    reading_order,
    sources_sha256,
)
from pseudolabel.audio.clips import FULL_SCALE, ClipStore, ClipTable, audio_start, write_clips
from pseudolabel.audio.encoding import ClipOptions
from pseudolabel.audio.files import AudioSource
from pseudolabel.audio.listing import find_audio, is_pattern, read_segment_table, segment_columns
from pseudolabel.blocks import SETTINGS, Blocks, only_run, remove_parts_of_finished
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, first_few
from pseudolabel.formatting import plural
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import GROUPS, STORE_ENDINGS
from pseudolabel.ownership import has_format, has_keys, refuse_existing, refuse_foreign_file
from pseudolabel.plan_checks import check_columns, check_lists, check_vocabulary
from pseudolabel.prepare_files import (
    GROUP_COLUMNS,
    NamedRecordings,
    Reports,
    check_missing,
    has_groups,
    in_nfc,
    lists_to_write,
    lists_written,
    missing_clips,
    name_recordings,
    read_groups,
    recorded_lists,
)
from pseudolabel.prepare_options import PrepareOptions
from pseudolabel.progress import note
from pseudolabel.records import Inputs, run_record, sha256

if TYPE_CHECKING:
    from pseudolabel.labels.table import LabelTable

PASSES, MOST_SEGMENTS = 8, 4096  # how often a long recording is read for its segments; segments per block


def prepare(options: PrepareOptions) -> None:
    """Make the clip store and, beside it, the lists, skipped.csv and missing.csv; refuse to run twice at once."""
    out = options.store
    with only_run(out):
        if not options.replaces:
            remove_parts_of_finished(out, Reports(out).run)
        if not options.only_stats:
            refuse_foreign_file(out, options.replaces, has_format(ClipStore.FORMAT), "a clip store", STORE_ENDINGS)
            make_store(options)
        if options.stats:
            write_statistics(options)


@dataclass
class Listed:
    """What `prepare` is given: recordings under the ids of the lists, the lists by file name, {clip id: group}."""

    recordings: NamedRecordings
    lists: dict[str, LabelTable]
    groups: dict[str, str]


def read_inputs(options: PrepareOptions, inputs: Inputs) -> Listed:
    """List the recordings, and read the label lists and groups."""
    sources = listed_recordings(options, inputs)
    beside_audio = options.audio[0].absolute().parent if options.audio else None
    groups_csv = cli.default_file(options, options.groups, GROUPS, beside_audio, what="groups")
    if groups_csv and not options.groups and not has_groups(groups_csv):
        note(f"no groups: {groups_csv} has no columns clip_id,group")
        groups_csv = None
    groups = read_groups(inputs.read(groups_csv))
    lists = label_lists(options, inputs)
    return Listed(name_recordings(sources, lists, options.recordings[0]), lists, groups)


def make_store(options: PrepareOptions) -> None:
    """Decode, then write the lists, and the store last."""
    inputs, out = Inputs(), options.store
    reports = Reports(out)
    listed = read_inputs(options, inputs)
    recordings, lists = listed.recordings, listed.lists
    reports.refuse_foreign(inputs)
    recorded = recorded_lists(out.parent)
    to_write = {} if options.uses_own_lists else lists
    outdated = lists_to_write(out.parent, to_write, options.replaces, inputs, recorded)

    old = store_to_extend(options)
    note_changed(recordings.files, old)
    blocks, decoded = decode_recordings(options, recordings, old)
    stored = {*decoded.clip_ids, *(() if old is None else old.clip_ids)}
    missing = missing_clips(lists, stored, decoded.skipped, recordings.elsewhere, options.recordings)
    without_audio = check_missing(lists, missing, options.recordings[0], options.strict)

    for name in outdated:
        lists[name].write(out.with_name(name))
    write_csv(reports.skipped, ("clip_id", "file", "reason"), reports.with_earlier(decoded.skipped, old))
    write_csv(reports.missing, ("clip_id", "list", "reason"), missing)
    record = {
        **run_record("prepare", asdict(options), inputs),
        **({} if old is not None else {"settings_sha256": sha256(blocks.folder / SETTINGS)}),
        "lists": lists_written(out.parent, outdated, recorded),
        "clips_under_another_id": len(recordings.aliases),
        "labels_left_out": {name: table.left_out for name, table in lists.items() if table.left_out},
    }
    write_json(reports.run, record)
    table = write_clip_store(
        options, old, decoded, blocks, recordings.groups(decoded.clip_ids, listed.groups, options.segments)
    )
    blocks.remove()  # the store is written last: if it exists, everything does
    print_result(table, decoded, old, without_audio, reports)


def listed_recordings(options: PrepareOptions, inputs: Inputs) -> dict[str, AudioSource]:
    """Return {clip id: source} of the recordings, sorted by clip id."""
    audio, segments = options.recordings, inputs.read(options.segments)
    if segments and (len(audio) > 1 or audio[0].is_file()):
        raise InputError("names files of one folder", "--segments", "Give that folder as --audio.")
    sources = read_segment_table(segments, audio[0]) if segments else find_audio(*audio)
    if not sources:
        raise InputError("no recordings here", audio[0], "Give --audio the folder that holds them.")
    return sources


def label_lists(options: PrepareOptions, inputs: Inputs) -> dict[str, LabelTable]:
    """Return {file name: label list} for the lists that are given, or that are in WORK beside its recordings."""
    own, given = options.uses_own_lists, options.lists
    vocabulary = Vocabulary.load(inputs.read(cli.vocabulary_source(options, None if own else options.out)))
    if own:
        given = {name: (options.work / name,) for name in cli.LABEL_LISTS if (options.work / name).is_file()}
    for path in itertools.chain.from_iterable(given.values()):
        inputs.read(path)
    lists = {name: cli.read_labels(options, paths, vocabulary, own) for name, paths in given.items() if paths}
    return {name: in_nfc(table, name) for name, table in lists.items()}


def store_to_extend(options: PrepareOptions) -> ClipStore | None:
    """Return the finished store that --add extends, if there is one.

    Raises:
        InputError: its sample rate or codec differs.
    """
    out = options.store
    if not (options.add and out.exists()):
        return None
    store = ClipStore.open(out)
    for flag, made, asked in (
        ("--sample-rate", store.sample_rate, options.sample_rate),
        ("--codec", store.codec, options.codec),
    ):
        if made != asked:
            raise InputError(f"the store has {made}, not {asked}", flag, f"Give {flag} {made}.")
    if store.full_scale != FULL_SCALE:
        note(f"{out} keeps the scale of an earlier version, one step off at the loudest; --overwrite decodes all again")
    return store


def note_changed(sources: dict[str, AudioSource], old: ClipStore | None) -> None:
    """Name the recordings that changed after their clips were made: --add does not decode them again."""
    if old is None:
        return
    made = old.path.stat().st_mtime
    changed = [
        clip_id
        for clip_id, source in sources.items()
        if clip_id in old.index and source.path.exists() and source.path.stat().st_mtime > made
    ]
    if changed:
        note(
            f"{plural(len(changed), 'recording')} changed after {old.path} was made, which keeps the former sound: "
            f"{first_few(changed)}; --overwrite decodes all again"
        )


def decode_recordings(
    options: PrepareOptions, recordings: NamedRecordings, old: ClipStore | None
) -> tuple[Blocks, Decoded]:
    """Decode the recordings that the old store lacks.

    Raises:
        InputError: no recording can be used, or with `strict` one is unusable or has a defect.
    """
    form = ClipOptions(options.sample_rate, options.codec, options.limit_seconds)
    if old is not None:
        form = replace(form, full_scale=old.full_scale)
    files = reading_order([item for item in recordings.files.items() if old is None or item[0] not in old.index])
    # segments: larger blocks, because each block reads a recording from its beginning
    size = max(BLOCK_SIZE, min(len(files) // PASSES, MOST_SEGMENTS)) if options.segments else BLOCK_SIZE
    settings = {**asdict(form), "files": sources_sha256(files), "audio_start": audio_start(), **decoders()}
    # Blocks that --add finds belong to a run that ended, or to recordings that have changed: the store is whole.
    blocks = Blocks(options.store, len(files), size, settings, restart=options.overwrite or old is not None)
    decode_all(files, blocks, form, options.processes)
    decoded = collect(blocks)
    decoded.skipped.sort(key=itemgetter(0))
    if decoded.skipped and options.strict:
        _, path, reason = decoded.skipped[0]
        raise InputError(
            f"recording {reason} ({plural(len(decoded.skipped), 'such file')})", path, "Without --strict: skipped."
        )
    if not decoded.clip_ids and not options.add:
        _, path, reason = decoded.skipped[0]
        message = f"not one of {len(files)} recordings can be used; first: {reason}"
        raise InputError(message, options.recordings[0], f"The first is {path}.")
    return blocks, decoded


def write_clip_store(
    options: PrepareOptions, old: ClipStore | None, decoded: Decoded, blocks: Blocks, groups: list[str]
) -> ClipTable:
    """Write the store of the decoded clips and those of the old store; return its table.

    Args:
        groups: of the decoded clips.
    """
    out = options.store
    sizes, form = (decoded.n_samples, decoded.n_bytes), (options.sample_rate, options.codec, options.recordings[0].name)
    table = ClipTable(decoded.clip_ids, groups, *sizes, *form, decoded.crc32)
    if old is None:
        refuse_existing(out, options.overwrite)
    if old is None and decoded.clip_ids == sorted(decoded.clip_ids):
        complete_store(blocks, table)
        return table
    earlier = () if old is None else (part_of_store(old),)
    table, encoded = in_id_order(*earlier, part_of_blocks(blocks, table))
    write_clips(out, table, encoded, overwrite=True)
    return table


def print_result(
    table: ClipTable, decoded: Decoded, old: ClipStore | None, without_audio: str, reports: Reports
) -> None:
    """Print what the store holds and what was left out."""
    hours = sum(table.n_samples) / table.sample_rate / 3600
    added = "" if old is None else f" ({len(decoded.clip_ids)} of them added)"
    print(
        f"wrote {reports.out}: {len(table.clip_ids)} clips{added}, {hours:.2f} h at {table.sample_rate} Hz, "
        f"{table.codec}; {decoded.scaled} beyond full scale were scaled down"
    )
    n_kept = sum(reason.startswith(KEPT) for _, _, reason in decoded.skipped)
    print(f"skipped {plural(len(decoded.skipped) - n_kept, 'unusable recording')}; {without_audio}")
    if n_kept:
        kept = plural(n_kept, "recording")
        print(f"kept {kept} of another length than the header or the segment states: see {reports.skipped}")


def write_statistics(options: PrepareOptions) -> None:
    """Write and print the mean and standard deviation of a store's features, for the front end's normalisation."""
    cli.import_torch()
    from pseudolabel.audio.frontend import build_frontend
    from pseudolabel.audio.frontend_options import lengths_in_seconds
    from pseudolabel.audio.statistics import feature_statistics

    path = options.store
    clips = ClipStore.open(path)
    given, line = lengths_in_seconds(dict(options.front_end), clips.sample_rate)
    note(line)
    front_end = {"name": options.stats, "sample_rate": clips.sample_rate}
    for name in front_end.keys() & given.keys():
        if given[name] != front_end[name]:
            raise InputError(f"{name} is {front_end[name]!r} here, not {given[name]!r}", "--front-end", "Leave it out.")
    front_end |= given
    statistics = feature_statistics(clips, build_frontend(front_end))
    out = path.with_name(f"{path.stem}.{options.stats}.json")
    refuse_foreign_file(out, True, has_keys("front_end", "mean", "std", "n_clips"), "what --stats writes")
    write_json(out, {"front_end": front_end, **asdict(statistics)})
    print(
        f"{out}: {options.stats} of {statistics.n_clips} clips, {statistics.n_too_short} too short; "
        f"train --front-end mean={statistics.mean:.6g} std={statistics.std:.6g}"
    )


def plan(options: PrepareOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says."""
    out = options.store
    if options.only_stats:
        return f"would write the {options.stats} statistics of {out}"
    given = [path for paths in options.lists.values() for path in paths]
    recordings = [path for path in options.recordings if not is_pattern(path)]
    dry_run.refuse_absent(*recordings, options.segments, *given, options.groups)
    check_vocabulary(cli.vocabulary_source(options, None if options.uses_own_lists else options.out))
    is_ours = has_format(ClipStore.FORMAT)
    dry_run.refuse_output(
        out,
        options.replaces,
        lambda: refuse_foreign_file(out, options.replaces, is_ours, "a clip store", STORE_ENDINGS),
    )
    dry_run.promise(out, sample_rate=options.sample_rate)
    for name, paths in options.lists.items():
        if paths:
            dry_run.promise(out.with_name(name))
    where = first_few(options.recordings)
    check_lists(options.format, *given)
    check_columns(GROUP_COLUMNS, options.groups)
    if options.segments and options.segments.exists():
        segment_columns(options.segments)
    if dry_run.of_recipe():  # listing takes a while, and earlier steps may make the files
        return f"would write {out}: the recordings in {where}"
    return f"would write {out}: {planned(options)} in {where}"


def planned(options: PrepareOptions) -> str:
    """Return how many recordings and labelled clips there are; raise InputError as `prepare` would."""
    inputs, folder = Inputs(), options.store.parent
    listed = read_inputs(options, inputs)
    Reports(options.store).refuse_foreign(inputs)
    if not options.uses_own_lists:
        lists_to_write(folder, listed.lists, options.replaces, inputs, recorded_lists(folder))
    old = store_to_extend(options)
    known = {*listed.recordings.files, *(() if old is None else old.clip_ids)}
    missing = missing_clips(listed.lists, known, [], listed.recordings.elsewhere, options.recordings)
    without_audio = check_missing(listed.lists, missing, options.recordings[0], options.strict)
    return f"{plural(len(listed.recordings.files), 'recording')} ({without_audio})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("prepare", __doc__, Command(PrepareOptions, prepare, plan), argv)


if __name__ == "__main__":
    raise SystemExit(main())
