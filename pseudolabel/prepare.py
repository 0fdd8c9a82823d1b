"""Decode recordings of any format into one clip store that training and scoring read at the speed of memory.

    python -m pseudolabel.prepare                                   # WORK/scenes -> WORK/clips.h5
    python -m pseudolabel.prepare --audio audioset/audio --eval eval_segments.csv
        --labels unbalanced_train_segments.csv.xz balanced_train_segments.csv --balanced balanced_train_segments.csv

Clips are mono, at one sample rate, of any length. A recording that cannot be used is skipped and listed in skipped.csv
with its reason; a labelled clip without audio keeps its labels and is listed in missing.csv. Label lists of any known
form that are given are written to WORK as labels.csv (all of --labels together), balanced.csv, validation.csv and
eval.csv, where the other verbs look for them. A killed run goes on where it was; adding clips to a finished store
rewrites it.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pseudolabel import cli
from pseudolabel.artefacts import read_csv, refuse_existing, run_record, write_csv, write_json
from pseudolabel.audio.clips import CODECS, encode, encode_pcm16, write_clips
from pseudolabel.audio.files import Recording, UnreadableAudio, read_audio
from pseudolabel.audio.listing import find_audio
from pseudolabel.blocks import Blocks
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.table import LabelTable, read_lists
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import Progress
from pseudolabel.stores import fixed_length_text, read_text

BLOCK_SIZE = 128  # clips a block: a few seconds of work to lose at most
SHORTEST_S = 0.1  # less is shorter than any front end's window of analysis with its overlap
LEAST_HEARD = 0.001  # share of samples that are not 0; a recording scaled down to less has lost its sound
COPY_BYTES = 1 << 24


@dataclass(frozen=True)
class Decoding:
    """How a recording becomes a clip."""

    sample_rate: int = 16000
    codec: str = "pcm16"
    limit_s: float | None = None
    shortest_s: float = SHORTEST_S


def encode_heard(recording: Recording, path: Path, decoding: Decoding) -> np.ndarray:
    """Return the encoded recording, uint8; UnreadableAudio where 16 bits keep nothing of what it holds."""
    samples = recording.samples
    pcm16 = encode_pcm16(samples)
    n_heard, least = np.count_nonzero(pcm16.view("<i2")), LEAST_HEARD * len(samples)
    if not n_heard:
        raise UnreadableAudio("is silent at 16 bits", path)
    if recording.scaled and n_heard < least <= np.count_nonzero(samples):
        raise UnreadableAudio("has one peak that drowns the rest", path)
    return pcm16 if decoding.codec == "pcm16" else encode(samples, decoding.codec, decoding.sample_rate)


def make_block(blocks: Blocks, block: int, files: list[tuple[str, Path]], decoding: Decoding) -> int:
    """Decode the recordings of one block, write it, and return how many there were."""
    kept, encoded, lengths, skipped, scaled = [], [], [], [], 0
    for clip_id, path in files:
        try:
            recording = read_audio(path, decoding.sample_rate, decoding.limit_s)
            if len(recording.samples) < decoding.shortest_s * decoding.sample_rate:
                seconds = len(recording.samples) / decoding.sample_rate
                raise UnreadableAudio(f"is {seconds:.3f} s short; at least {decoding.shortest_s:g} s are needed", path)
            piece = encode_heard(recording, path, decoding)
        except UnreadableAudio as error:
            skipped.append((clip_id, str(path), error.reason))
            continue
        kept.append(clip_id)
        lengths.append(len(recording.samples))
        encoded.append(piece)
        scaled += recording.scaled

    def fill(file: h5py.File) -> None:
        file["clip_id"] = fixed_length_text(kept)
        file["n_samples"] = np.array(lengths, np.int64)
        file["n_bytes"] = np.array([len(piece) for piece in encoded], np.int64)
        file["bytes"] = np.concatenate(encoded) if encoded else np.empty(0, np.uint8)
        for column, name in enumerate(("skipped_id", "skipped_file", "skipped_reason")):
            file[name] = fixed_length_text([row[column] for row in skipped])
        file.attrs["scaled"] = scaled

    blocks.write(block, fill)
    return len(files)


def decode_all(files: list[tuple[str, Path]], blocks: Blocks, decoding: Decoding, n_processes: int) -> None:
    """Make every unfinished block, by several processes."""
    unfinished = blocks.unfinished()
    n_done = len(files) - sum(len(blocks.span(block)) for block in unfinished)
    with Progress("prepare", len(files), start=n_done) as progress:
        if n_processes == 1 or len(unfinished) <= 1:
            for block in unfinished:
                progress.advance(make_block(blocks, block, [files[i] for i in blocks.span(block)], decoding))
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(n_processes, len(unfinished)), context) as pool:
            jobs = [
                pool.submit(make_block, blocks, block, [files[i] for i in blocks.span(block)], decoding)
                for block in unfinished
            ]
            try:
                for job in jobs:
                    progress.advance(job.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # else every block is made before the error is seen
                raise


@dataclass
class Decoded:
    """What lies in the finished blocks: a row for each clip that was kept, and the skipped ones."""

    clip_ids: list[str]
    n_samples: list[int]
    n_bytes: list[int]
    skipped: list[tuple[str, str, str]]
    scaled: int


def collect(blocks: Blocks) -> Decoded:
    """Read the tables, not the audio, of all blocks."""
    decoded = Decoded([], [], [], [], 0)
    for block in range(len(blocks)):
        with h5py.File(blocks.path(block), "r") as file:
            decoded.clip_ids += read_text(file["clip_id"])
            decoded.n_samples += file["n_samples"][:].tolist()
            decoded.n_bytes += file["n_bytes"][:].tolist()
            columns = [read_text(file[name]) for name in ("skipped_id", "skipped_file", "skipped_reason")]
            decoded.skipped += list(zip(*columns, strict=True))
            decoded.scaled += int(file.attrs["scaled"])
    return decoded


def stored_bytes(blocks: Blocks) -> Iterator[np.ndarray]:
    """Yield the encoded audio of all blocks in clip order."""
    for block in range(len(blocks)):
        with h5py.File(blocks.path(block), "r") as file:
            stored = file["bytes"]
            for start in range(0, stored.shape[0], COPY_BYTES):
                yield stored[start : start + COPY_BYTES]


def listing_sha256(files: list[tuple[str, Path]]) -> str:
    """Return a checksum of which files there are: id, size and time of change of each."""
    digest = hashlib.sha256()
    for clip_id, path in files:
        status = path.stat()
        digest.update(f"{clip_id}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_groups(path: Path | None) -> dict[str, str]:
    """Read `clip_id,group` from a CSV file; a clip without a group is a group of its own."""
    groups: dict[str, str] = {}
    for row in read_csv(path, ("clip_id", "group")) if path else ():
        group = row["group"] or row["clip_id"]
        if groups.setdefault(row["clip_id"], group) != group:
            raise InputError(f"clip {row['clip_id']!r} has two groups", f"{path}:{row['line']}", "Keep one row a clip.")
    return groups


def label_lists(args: argparse.Namespace) -> dict[str, LabelTable]:
    """Return file name in WORK -> label list, of those that are given or lie there already."""
    vocabulary = Vocabulary.load(cli.vocabulary_source(args))
    given = {"labels.csv": args.labels, "balanced.csv": args.balanced, "validation.csv": args.validation,
             "eval.csv": args.eval}  # fmt: skip
    if args.audio is None and not any(given.values()):
        given = {name: [args.work / name] for name in cli.LABEL_LISTS if (args.work / name).is_file()}
    return {name: read_lists(paths, vocabulary) for name, paths in given.items() if paths}


def lists_to_write(work: Path, lists: dict[str, LabelTable], overwrite: bool) -> list[str]:
    """Return the lists that WORK has not got yet; one that lies there and differs needs `overwrite`."""

    def differs(path: Path, table: LabelTable) -> bool:
        try:
            return not path.exists() or LabelTable.read(path, table.vocabulary) != table
        except InputError:
            return True

    outdated = [name for name, table in lists.items() if differs(work / name, table)]
    for name in outdated:
        refuse_existing(work / name, overwrite)
    return outdated


def missing_clips(lists: dict[str, LabelTable], decoded: Decoded) -> list[tuple[str, str, str]]:
    """Return (clip id, list, reason) of labelled clips that were not decoded."""
    stored, reasons = set(decoded.clip_ids), {row[0]: row[2] for row in decoded.skipped}
    return [
        (clip_id, name, reasons.get(clip_id, "no audio file"))
        for name, table in lists.items()
        for clip_id in table.clip_ids
        if clip_id not in stored
    ]


def prepare(args: argparse.Namespace) -> None:
    """Make WORK/clips.h5, skipped.csv and missing.csv."""
    out = refuse_existing(args.out or args.work / "clips.h5", args.overwrite)
    audio = args.audio or args.work / "scenes"
    files = list(find_audio(audio).items())
    if not files:
        raise InputError("no recordings in this folder", audio, "Give --audio the folder that holds them.")
    groups_file = args.groups or cli.existing(args.work / "clips.csv")
    groups = read_groups(groups_file)
    lists = label_lists(args)
    outdated = lists_to_write(args.work, lists, args.overwrite)
    decoding = Decoding(args.sample_rate, args.codec, args.limit_seconds)
    settings = {**decoding.__dict__, "files": listing_sha256(files)}
    blocks = Blocks(out, len(files), BLOCK_SIZE, settings, restart=args.overwrite)
    decode_all(files, blocks, decoding, args.processes)
    decoded = collect(blocks)
    if decoded.skipped and args.strict:
        _, path, reason = decoded.skipped[0]
        raise InputError(f"recording {reason} ({len(decoded.skipped)} such files)", path, "Without --strict: skipped.")
    if not decoded.clip_ids:
        raise InputError(f"not one of {len(files)} recordings can be used; first: {decoded.skipped[0][2]}", audio)
    missing = missing_clips(lists, decoded)
    labelled, silent = {i for table in lists.values() for i in table.clip_ids}, dict.fromkeys(row[0] for row in missing)
    without_audio = f"{len(silent)} of {len(labelled)} labelled clips have no audio"
    unheard = [name for name, table in lists.items() if len(table) and silent.keys() >= set(table.clip_ids)]
    if silent and (args.strict or unheard):
        in_full = f", all of {' and '.join(unheard)}" if unheard else ""
        raise ClipMismatch(f"{without_audio}{in_full}: {first_few(silent)}", audio,
                           "Check --audio and --labels: clip ids are file names without their suffix.")  # fmt: skip
    clip_groups = [groups.get(clip_id, clip_id) for clip_id in decoded.clip_ids]
    for name in outdated:
        lists[name].write(args.work / name)
    write_csv(out.with_name("skipped.csv"), ("clip_id", "file", "reason"), decoded.skipped)
    write_csv(out.with_name("missing.csv"), ("clip_id", "list", "reason"), missing)
    inputs = [path for paths in (args.labels, args.balanced, args.validation, args.eval) for path in paths or []]
    write_json(out.with_name(f"{out.stem}.run.json"), run_record("prepare", vars(args), inputs))
    write_clips(
        out, decoded.clip_ids, clip_groups, decoded.n_samples, decoded.n_bytes, stored_bytes(blocks),
        decoding.sample_rate, decoding.codec, audio.name, args.overwrite,
    )  # fmt: skip
    blocks.remove()  # the store comes last: where it is, all of it is
    hours = sum(decoded.n_samples) / decoding.sample_rate / 3600
    print(
        f"wrote {out}: {len(decoded.clip_ids)} clips, {hours:.2f} h at {decoding.sample_rate} Hz, {decoding.codec}; "
        f"{decoded.scaled} beyond full scale were scaled down"
    )
    print(f"skipped {len(decoded.skipped)} unusable recordings; {without_audio}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    parser = cli.verb_parser("prepare", __doc__)
    parser.add_argument("--audio", type=Path, help="folder of recordings, searched in depth (default: WORK/scenes)")
    for name, purpose in (("labels", "training"), ("balanced", "balanced training"), ("validation", "held-out"),
                          ("eval", "evaluation")):  # fmt: skip
        parser.add_argument(f"--{name}", type=Path, nargs="+", metavar="LIST", help=f"label lists of {purpose} clips")
    parser.add_argument("--groups", type=Path, help="CSV with clip_id,group (default: WORK/clips.csv where it is)")
    parser.add_argument("--vocabulary", help="audioset, fsd50k, esc50 or CSV (default: WORK/vocabulary.csv, audioset)")
    parser.add_argument("--sample-rate", type=cli.positive_int, default=16000, help="Hz (default: 16000)")
    parser.add_argument("--codec", choices=CODECS, default="pcm16", help="pcm16 is fast, flac small (default: pcm16)")
    parser.add_argument("--limit-seconds", type=cli.positive, help="keep only the first so many seconds of a recording")
    parser.add_argument("--processes", type=cli.positive_int, default=os.cpu_count() or 1, help="default: all cores")
    parser.add_argument("--out", type=Path, help="clip store (default: WORK/clips.h5)")
    return cli.run_verb(parser, prepare, argv)


if __name__ == "__main__":
    raise SystemExit(main())
