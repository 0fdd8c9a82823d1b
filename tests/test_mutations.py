"""Damaged inputs: every reader of a file that a user may give meets thousands of small faults in a whole file.

What it then returns is what the whole file says, or what the damaged one says (judged line by line: a line that is
still there has its record, and no line is without one), or else a named error of one line. Never a traceback, a hang,
a reader that dies, or rows that vanish.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import lzma
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.artefacts import write_csv
from pseudolabel.errors import InputError
from pseudolabel.labels.ledger import read_ledger, write_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.readers import read_segments
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.thresholds import read_thresholds
from pseudolabel.labels.vocabulary import Vocabulary

IDS = ("/m/09x0r", "/m/05zppz", "/m/032s66", "/m/0bt9lr")
NAMES = ("Speech", "Male speech, man speaking", "Gunshot, gunfire", "Dog")
VOCABULARY = Vocabulary("four", IDS, NAMES, IDS)
ROWS = (("-aAbBcCdDeE", (0, 1)), ("b", (2,)), ("c x", (3, 0)), ("é日本", ()), ("e5", (1,)), ("f.6", (0, 1, 2, 3)))
ONE_EACH = tuple((clip, classes[:1] or (0,)) for clip, classes in ROWS)
SECONDS, MEMORY = 20, 4 << 30  # that a reader may take for a file of a few hundred bytes
N_DEFAULT, N_SLOW = 500, 10_000

Check = Callable[[object, object, bytes, bytes], None]


# ---- what a reading must be ---------------------------------------------------------------------------------------


def lines_of(content: bytes) -> list[str]:
    """Return the lines that are not empty, without a mark at the beginning."""
    return [line for line in re.split(r"\r\n|\r|\n", content.decode("utf-8-sig")) if line.strip()]


def lines(header: int = 1, each: bool = True, comment: str = "") -> Check:
    """Return the check that every line has its record, whatever became of the others.

    Args:
        header: how many lines are none; `comment` begins further ones.
        each: a line is a record of its own; else lines may say the same or belong together.
    """

    def check(now: object, before: object, damaged: bytes, whole: bytes) -> None:
        kept, old = lines_of(damaged), lines_of(whole)
        same_header = kept[:header] == old[:header]
        kept, old = ([line for line in text[header:] if not (comment and line.startswith(comment))]
                     for text in (kept, old))  # fmt: skip
        if each:
            assert len(now) == len(kept), f"{len(kept)} lines, {len(now)} records"
        if same_header:
            records = dict(zip(old, before, strict=True))
            expected = Counter(records[line] for line in kept if line in records)
            lost = expected - Counter(now) if each else set(expected) - set(now)
            assert not lost, f"lost: {lost}"

    return check


def united(header: int = 1) -> Check:
    """Return the check that the labels of every line are among its clip's, which may have several lines."""

    def check(now: object, before: object, damaged: bytes, whole: bytes) -> None:
        kept, old = lines_of(damaged), lines_of(whole)
        assert len(now) <= len(kept) - header, f"{len(kept)} lines, {len(now)} records"
        if kept[:header] == old[:header]:
            records, labels = dict(zip(old[header:], before, strict=True)), dict(now)
            for clip, own in (records[line] for line in kept[header:] if line in records):
                assert clip in labels and set(own) <= set(labels[clip]), f"lost: {clip} {own}"

    return check


def same(now: object, before: object, damaged: bytes, whole: bytes) -> None:
    """Refuse every reading but that of the whole file: it has checksums."""
    assert now == before


def any_reading(now: object, before: object, damaged: bytes, whole: bytes) -> None:
    """Refuse nothing that the reader returns."""


def what_json_says(now: object, before: object, damaged: bytes, whole: bytes) -> None:
    """Refuse a reading that has fewer entries than the damaged JSON."""
    entries = json.loads(damaged.decode("utf-8-sig"))
    assert len(now) == len(entries.get("data", entries) if isinstance(entries, dict) else entries)


def what_numpy_says(now: object, before: object, damaged: bytes, whole: bytes) -> None:
    """Refuse other values than numpy reads."""
    assert now == [row.tobytes() for row in np.load(io.BytesIO(damaged)).astype(np.float16)]


# ---- readers and a whole file of each -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A file as it should be, how it is read into plain values, and how a reading of a damaged one is judged."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    check: Check
    file: str = ""

    def path(self, folder: Path) -> Path:
        """Return the file that is damaged."""
        return folder / (self.file or self.name)


def text(content: str | bytes, name: str = "") -> Callable[[Path], object]:
    """Return what writes this content; it is packed as the name says."""
    content = content.encode() if isinstance(content, str) else content

    def write(folder: Path) -> None:
        pack = {".gz": lambda data: gzip.compress(data, mtime=0), ".xz": lzma.compress}.get(Path(name).suffix, bytes)
        (folder / name).write_bytes(pack(content))

    return write


def label_sets(path: Path, **options: object) -> list:
    table = LabelTable.read(path, VOCABULARY, **options)
    return list(zip(table.clip_ids, table.label_sets(), strict=True))


def events(path: Path) -> list:
    return [(clip, label) for clip, labels in label_sets(path) for label in labels]


def rows_of(pattern: str, rows: Iterable, joined: str, of: tuple[str, ...] = IDS) -> str:
    made = (pattern.format(clip, joined.join(of[k] for k in classes), n) for n, (clip, classes) in enumerate(rows))
    return "".join(f"{line}\n" for line in made)


def label_lists() -> Iterable[Reader]:
    """Yield a reader for every form of a label list."""
    names = tuple(name.replace(", ", "_and_").replace(" ", "_") for name in NAMES)
    segments = "# Segments csv\n# YTID, start_seconds, end_seconds, positive_labels\n"
    segments += rows_of('{0}, {2}.000, 10.000, "{1}"', ROWS, ",")
    own, one_event = "clip_id,labels\n" + rows_of("{0},{1}", ROWS, ";"), [row for row in ROWS if row[1]][:4]
    one_event = [(clip, (k,)) for clip, classes in one_event for k in sorted(classes)]
    psl = "".join(f"/x/{clip}.wav\t{';'.join(map(str, classes))}\t10.0\n" for clip, classes in ROWS)
    strong = rows_of("{0}\t0.{2}\t9.5\t{1}", one_event, "")
    for name, content, check in (
        ("own.csv", own, lines()),
        ("own.csv.gz", own, same),
        ("own.csv.xz", own, same),
        ("segments.csv", segments, lines(0, comment="# ")),
        ("esc50.csv", "filename,fold,category\n" + rows_of('{0}.wav,1,"{1}"', ONE_EACH, "", NAMES), united()),
        ("audioset_r.tsv", rows_of("{0}\t{1}", ROWS[:3], ","), united(0)),
        ("fsd50k.csv", "fname,labels,mids,split\n"
         + "".join(f'{c},"{",".join(names[k] for k in ks)}","{",".join(IDS[k] for k in ks)}",dev\n' for c, ks in ROWS),
         lines()),
        ("fsdkaggle2018.csv", "fname,label,by_hand\n" + rows_of("{0}.wav,{1},0", ONE_EACH, "", names), united()),
        ("fsdkaggle2019.csv", "fname,labels\n" + rows_of('{0}.wav,"{1}"', ROWS, ",", names), united()),
        ("weak.tsv", "filename\tevent_labels\n" + rows_of("{0}.wav\t{1}", ROWS, ",", names), united()),
        ("psl.tsv", "filename\tlabels\tduration\n" + psl, united()),
        ("metadata.csv", "file_name,take,labels\n" + rows_of("a/{0}.wav,{2},{1}", ROWS, ";"), united()),
        ("plain.csv", "n,path,tags\n" + rows_of('{2},{0}.wav,"{1}"', ROWS, ",", NAMES), united()),
        ("excel.csv", "\ufefffile_name;labels\r\n" + rows_of("{0}.wav;{1}", ROWS, ",").replace("\n", "\r\n"), united()),
        ("metadata.jsonl", "".join(json.dumps({"file_name": f"a/{clip}.wav", "labels": [NAMES[k] for k in classes]})
                                   + "\n" for clip, classes in ROWS), united(0)),
    ):  # fmt: skip
        numbered = {"classes": VOCABULARY} if name == "psl.tsv" else {}
        yield Reader(name, text(content, name), functools.partial(label_sets, **numbered), check)
    for name, content in (
        ("audioset_strong.tsv", "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n" + strong),
        ("desed.tsv", "filename\tonset\toffset\tevent_label\n" + strong.replace("\t0.", ".wav\t0.")),
    ):
        yield Reader(name, text(content, name), events, lines(each=False))
    psla = ",\n".join(json.dumps({"wav": f"/x/{clip}.wav", "labels": ",".join(IDS[k] for k in classes)})
                      for clip, classes in ROWS)  # fmt: skip
    yield Reader("psla.json", text(f'{{"data": [\n{psla}\n]}}', "psla.json"), label_sets, what_json_says)
    table = LabelTable.from_sets([clip for clip, _ in ROWS], [[IDS[k] for k in ks] for _, ks in ROWS], VOCABULARY)
    yield Reader("own.parquet", lambda folder: table.write(folder / "own.parquet", "parquet"), label_sets, any_reading)
    yield Reader("times.csv", text(segments, "times.csv"), lambda path: list(read_segments(path).items()),
                 lines(0, comment="# "))  # fmt: skip


def tables() -> Iterable[Reader]:
    """Yield a reader for every other table of labels, classes and clips."""
    from pseudolabel.audio.listing import read_segment_table
    from pseudolabel.corpus.sources import read_sound_table
    from pseudolabel.prepare_files import read_groups
    from pseudolabel.scores.answers import read_classes, read_ids
    from pseudolabel.scores.class_map import ClassMap
    from pseudolabel.training.out_of_fold import read_seen

    def classes(path: Path) -> list:
        vocabulary = Vocabulary.load(path)
        return list(zip(vocabulary.class_ids, vocabulary.names, vocabulary.ontology_ids, strict=True))

    def nodes(path: Path) -> list:
        graph = Ontology.load(path).graph
        return [(node, str(graph.nodes[node]), str(list(graph.successors(node)))) for node in graph]

    def sounds(path: Path) -> list:
        table = read_sound_table(path.parent, path, VOCABULARY)
        return [(sound.file, sound.class_id) for sound in table.sounds] + table.skipped

    def write_sounds(folder: Path) -> None:
        text(sound_rows, "sounds.csv")(folder)
        for k in range(4):
            (folder / f"{k}.wav").touch()

    def pairs(path: Path) -> list:
        found = ClassMap.read(path, VOCABULARY)
        return [(class_id, target) for target, classes in found.classes_of.items() for class_id in classes]

    quoted = [f'"{name}"' for name in NAMES]
    published = "index,mid,display_name\n" + "".join(f"{k},{IDS[k]},{quoted[k]}\n" for k in range(4))
    ontology = 'class_id,name,child_ids,restrictions\na,Animal,b;c,abstract\nb,"Bird, wild",d,\nc,Cat,d,\nd,Dog,,\n'
    tree = [{"id": k, "name": k, "child_ids": list(below), "restrictions": []}
            for k, below in zip("abcd", ("bc", "d", "d", ""), strict=True)]  # fmt: skip
    sound_rows = "file,class,source\n" + "".join(f"{k}.wav,{quoted[k]},s{k}\n" for k in range(4))
    yield from (
        Reader("vocabulary.csv", lambda folder: VOCABULARY.write(folder / "vocabulary.csv"),
               classes, lines()),
        Reader("class_labels_indices.csv", text(published, "class_labels_indices.csv"), classes, lines()),
        Reader("names.tsv", text("".join(f"{i}\t{n}\n" for i, n in zip(IDS, NAMES, strict=True)), "names.tsv"), classes,
               lines(0)),
        Reader("fsd50k_vocabulary.csv", text("".join(f"{k},{n.replace(', ', '_and_')},{IDS[k]}\n" for k, n in
               enumerate(NAMES)), "fsd50k_vocabulary.csv"), classes, lines(0)),
        Reader("ontology.csv", text(ontology, "ontology.csv"), nodes, lines()),
        Reader("ontology.json", text(json.dumps(tree, indent=1), "ontology.json"), nodes, what_json_says),
        Reader("groups.csv", text("clip_id,group\na,one\nb,one\nc,two\nd,\n\"e,5\",two\n", "groups.csv"),
               lambda path: list(read_groups(path).items()), lines(each=False)),
        Reader("train_clips.csv", text("clip_id\na\nb\n\"c,3\"\nd d\n", "train_clips.csv"),
               read_seen, lines()),
        Reader("parts.csv", text("file,start,end\na.wav,0,10\na.wav,10,20\n\"b,2.wav\",1.5,\n", "parts.csv"),
               lambda path: sorted((s.path.name, s.start_s, s.end_s) for s in read_segment_table(path, "x").values()),
               lines()),
        Reader("sounds.csv", write_sounds, sounds, lines()),
        Reader("thresholds.csv", text("class_id,threshold\n" + "".join(f"{k},0.{n}5\n" for n, k in enumerate(IDS)),
               "thresholds.csv"), lambda path: read_thresholds(path, VOCABULARY).tolist(), lines()),
        Reader("map.csv", text("class_id,target_id\n/m/y,/m/09x0r\n/m/x,/m/05zppz\n/m/z,/m/0bt9lr\n", "map.csv"),
               pairs, lines()),
        Reader("ids.txt", text("a.wav\nb\nc c\n-d\n", "ids.txt"), read_ids, lines(0)),
        Reader("classes.txt", text("Speech\n/m/0bt9lr\nGunshot, gunfire\n", "classes.txt"),
               lambda path: read_classes(path, VOCABULARY), lines(0)),
        Reader("id2label.json", text(json.dumps(dict(enumerate(NAMES)), indent=1), "id2label.json"),
               lambda path: read_classes(path, VOCABULARY), what_json_says),
    )  # fmt: skip


def ledgers() -> Iterable[Reader]:
    """Yield a reader for each form of the ledger."""
    import pyarrow as pa

    from pseudolabel.labels.ledger import SCHEMA

    rows = [(f"c{n},é"[: 2 + n % 3], IDS[n % 4], ("I", "II", "I+II")[n % 3], IDS[(n + 1) % 4], *((None, None) if n == 2
            else (0.5 + n / 16, 0.25)), None, 1, 2.0, 2.0 * n) for n in range(8)]  # fmt: skip
    ledger = pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)

    def write(folder: Path) -> None:
        write_ledger(ledger, folder)
        (folder / "ledger.csv").write_bytes(gzip.decompress((folder / "ledger.csv.gz").read_bytes()))

    def read(path: Path) -> list:
        return [str(row) for row in read_ledger(path).to_pylist()]

    yield Reader("ledger.csv", write, read, lines())
    yield Reader("ledger.csv.gz", write, read, same)
    yield Reader("ledger.parquet", write, read, any_reading)


def reviews() -> Iterable[Reader]:
    """Yield a reader for what a review's judges give, and for its sample."""
    from pseudolabel.reviews.items import Item, make_sample, read_sample, write_sample
    from pseudolabel.reviews.judgements import COLUMNS, read_judgements

    items = [Item(f"{n:04d}", f"c{n}", IDS[n % 4], "added", "I", (IDS[0],), 0.5, 0.25, 2.0, 4.0, "s", 2.0)
             for n in range(1, 7)]  # fmt: skip
    sample = make_sample(items, "ab" * 32, {"s": 12})
    judged = [(sample.page, item.item, item.clip_id, item.class_id, ("right", "wrong", "unsure")[n % 3], "ann")
              for n, item in enumerate(items)]  # fmt: skip
    tasks = [{"data": dict(zip(COLUMNS[:4], row, strict=False)), "annotations": [{"completed_by": 7, "result": [
              {"type": "choices", "value": {"choices": [row[4]]}}]}]} for row in judged]  # fmt: skip

    def decisions(path: Path) -> list:
        by_judge = read_judgements([path], sample).by_judge
        return [(judge, *decision) for judge, found in by_judge.items() for decision in found.items()]

    yield Reader("judged.csv", lambda folder: write_csv(folder / "judged.csv", COLUMNS, judged), decisions, lines())
    yield Reader("judged.json", text(json.dumps(tasks, indent=1), "judged.json"), decisions, any_reading)
    for name in ("sample.csv", "sample.json"):
        yield Reader(name, lambda folder: write_sample(sample, folder), lambda path: str(read_sample(path)), same)


def stores() -> Iterable[Reader]:
    """Yield a reader for scores in every form, for audio, and for what lies in a model folder."""
    from pseudolabel.audio.clips import ClipStore, ClipTable, encode, write_clips
    from pseudolabel.scores.answers import open_answers
    from pseudolabel.scores.store import ScoreStore

    scores = np.random.default_rng(5).random((6, 4)).astype(np.float16)
    audio = [np.random.default_rng(n).standard_normal(40) / 8 for n in range(3)]
    encoded = [encode(samples, "pcm16", 16_000) for samples in audio]

    def write_array(folder: Path) -> None:
        np.save(folder / "scores.npy", scores)
        (folder / "ids").write_text("".join(f"c{n}\n" for n in range(6)))
        (folder / "classes").write_text("".join(f"{k}\n" for k in IDS))

    def write_table(folder: Path) -> None:
        write_csv(folder / "scores.csv", ("clip_id", *IDS), [(f"c{n}", *row) for n, row in enumerate(scores.tolist())])

    def answers(path: Path) -> list:
        names = (None, None) if path.suffix == ".csv" else (path.parent / "ids", path.parent / "classes")
        found = open_answers(path, *names, VOCABULARY)
        with np.errstate(over="ignore"):
            return [row.astype(np.float16).tobytes() for block in found.blocks() for row in block]

    def write_store(folder: Path) -> None:
        ScoreStore.write(folder / "scores.h5", list("abcdef"), IDS, {"clip": scores})

    def whole_store(path: Path) -> tuple:
        store = ScoreStore.open(path)
        store.verify()
        return store.clip_ids, store.class_ids, *(store.scores(scale).tobytes() for scale in store.scales)

    def whole_clips(path: Path) -> tuple:
        store = ClipStore.open(path)
        store.verify()
        return store.clip_ids, store.groups, *(store.read(clip_id).tobytes() for clip_id in store.clip_ids)

    def write_audio(folder: Path) -> None:
        sizes = [40] * 3, [len(piece) for piece in encoded]
        write_clips(folder / "clips.h5", ClipTable(["a", "b", "c"], ["a", "a", "c"], *sizes, 16_000), encoded)

    yield Reader("scores.npy", write_array, answers, what_numpy_says)
    yield Reader("scores.csv", write_table, answers, lines())
    yield Reader("scores.h5", write_store, whole_store, any_reading)
    yield Reader("clips.h5", write_audio, whole_clips, any_reading)


def model_files() -> Iterable[Reader]:
    """Yield a reader for the files of a model folder."""
    import torch
    from safetensors.torch import save_file

    from pseudolabel.models.checkpoints import load_state
    from pseudolabel.models.files import FORMAT, FORMAT_VERSION, read_config

    config = {"format": FORMAT, "format_version": FORMAT_VERSION, "network": "mobilenetv2", "front_end": {"n_mels": 64}}
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}

    def tensors(path: Path) -> list:
        return sorted((name, value.numpy().tobytes()) for name, value in load_state(path).items())

    yield Reader(
        "config.json", text(json.dumps(config), "config.json"), lambda path: str(read_config(path)), any_reading
    )
    yield Reader("w.safetensors", lambda folder: save_file(state, folder / "w.safetensors"), tensors, any_reading)
    yield Reader("w.pt", lambda folder: torch.save(state, folder / "w.pt"), tensors, any_reading)


READERS = {
    label_lists: "own.csv own.csv.gz own.csv.xz segments.csv esc50.csv audioset_r.tsv fsd50k.csv fsdkaggle2018.csv "
    "fsdkaggle2019.csv weak.tsv psl.tsv metadata.csv plain.csv excel.csv metadata.jsonl audioset_strong.tsv desed.tsv "
    "psla.json own.parquet times.csv",
    tables: "vocabulary.csv class_labels_indices.csv names.tsv fsd50k_vocabulary.csv ontology.csv ontology.json "
    "groups.csv train_clips.csv parts.csv sounds.csv thresholds.csv map.csv ids.txt classes.txt id2label.json",
    ledgers: "ledger.csv ledger.csv.gz ledger.parquet",
    reviews: "judged.csv judged.json sample.csv sample.json",
    stores: "scores.npy scores.csv scores.h5 clips.h5",
    model_files: "config.json w.safetensors w.pt",
}
NAMES_OF_READERS = tuple((make, name) for make, names in READERS.items() for name in names.split())


# ---- faults -------------------------------------------------------------------------------------------------------

ODD = (
    b'"', b'""', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b" ", b"#", b"# ", b"\xff", b"\xe9", b"\xef\xbb\xbf",
    b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\\", b"\\u0000", b"'", b"/", b"-", b"0", b"9", b".", b"e", b"[", b"]", b"{",
    b"}", b":", b"NaN", b"nan", b"inf", b"1e999", b"-1", b"null", b"true", b"_", b"\x1a", "é".encode(),
    "\u0301".encode(), b"x" * 200_000, b'"' * 999, b"[" * 5000, b"9" * 5000,
)  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return the content with one fault, now and then with two."""
    for _ in range(1 if rng.random() < 0.85 else 2):
        content = rng.choice(FAULTS)(content, rng)
    return content


def _at(content: bytes, rng: random.Random) -> int:
    return rng.randrange(len(content) + 1)


def _flip(content: bytes, rng: random.Random) -> bytes:
    at = min(_at(content, rng), len(content) - 1)
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :] if content else content


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = _at(content, rng)
    return content[:at] + rng.choice(ODD) + content[at:]


def _replace(content: bytes, rng: random.Random) -> bytes:
    at = _at(content, rng)
    return content[:at] + rng.choice(ODD) + content[at + rng.choice((1, 1, 2, 5)) :]


def _delete(content: bytes, rng: random.Random) -> bytes:
    at = _at(content, rng)
    return content[:at] + content[at + rng.choice((1, 1, 2, 8, 64)) :]


def _double(content: bytes, rng: random.Random) -> bytes:
    at, size = _at(content, rng), rng.choice((1, 2, 8, 64))
    return content[: at + size] + content[at:]


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: _at(content, rng)]


def _append(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((*ODD, content))


def _line_fault(content: bytes, rng: random.Random) -> bytes:
    found = content.split(b"\n")
    one, other = rng.randrange(len(found)), rng.randrange(len(found))
    return b"\n".join(rng.choice((
        lambda: found[:one] + found[one + 1 :],
        lambda: [*found[:one], found[other], *found[one:]],
        lambda: [found[other] if k == one else found[one] if k == other else line for k, line in enumerate(found)],
        lambda: [*found[:one], b"", b"  ", *found[one:]],
        lambda: [*found[:one], b'"' + found[one], *found[one + 1 :]],
        lambda: [*found[:one], found[one] + b'"', *found[one + 1 :]],
    ))())  # fmt: skip


def _field_fault(content: bytes, rng: random.Random) -> bytes:
    found = content.split(b"\n")
    line = rng.randrange(len(found))
    mark = b"\t" if b"\t" in found[line] else b","
    fields = found[line].split(mark)
    one, other = rng.randrange(len(fields)), rng.randrange(len(fields))
    fields[one], fields[other] = rng.choice(
        ((fields[other], fields[one]), (b"", fields[other]), (fields[one] + mark + fields[one], fields[other]),
         (b'"' + fields[one], fields[other]), (fields[one], fields[one]))
    )  # fmt: skip
    found[line] = mark.join(fields)
    return b"\n".join(found)


FAULTS = (_flip, _flip, _insert, _insert, _replace, _delete, _double, _truncate, _append, _line_fault, _field_fault)


# ---- the test -----------------------------------------------------------------------------------------------------


def complaint(reader: Reader, folder: Path, before: object, whole: bytes, number: int) -> str:
    """Return what is wrong with the reading of the file with fault `number`; '' where nothing is."""
    content = damaged(whole, random.Random(f"{reader.name} {number}"))
    reader.path(folder).write_bytes(content)
    signal.alarm(SECONDS)
    try:
        now = reader.read(reader.path(folder))
        if now != before:
            reader.check(now, before, content, whole)
    except InputError as error:
        wrong = "\n" in str(error) or len(str(error)) > 2000
        return f"the error has no single short line: {error}" if wrong else ""
    except BaseException:
        return f"{content[:2000]!r}\n{traceback.format_exc()}"
    finally:
        signal.alarm(0)
    return ""


def _hang(*_: object) -> None:
    raise TimeoutError(f"no answer in {SECONDS} s")


def _meet_faults(reader: Reader, folder: Path, numbers: Iterable[int], answers: object) -> None:
    """Send the number of every fault before it is met, and a complaint where there is one."""
    signal.signal(signal.SIGALRM, _hang)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    whole = reader.path(folder).read_bytes()
    before = reader.read(reader.path(folder))
    for number in numbers:
        answers.send(number)
        if text := complaint(reader, folder, before, whole, number):
            answers.send(f"{reader.name}, fault {number}: {text}")
    answers.send(None)


def complaints(reader: Reader, folder: Path, numbers: Iterable[int]) -> list[str]:
    """Return what is wrong with the readings of files with these faults, met in a process that may die."""
    reader.write(folder)
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_meet_faults, args=(reader, folder, numbers, there))
    process.start()
    there.close()
    found, last = [], None
    try:
        while (answer := here.recv() if here.poll(3 * SECONDS) else "") is not None:
            if answer == "":
                found.append(f"{reader.name}, fault {last}: no answer in {3 * SECONDS} s")
                break
            if isinstance(answer, str):
                found.append(answer)
            else:
                last = answer
    except EOFError:
        process.join()
        found.append(f"{reader.name}, fault {last}: the reader died ({process.exitcode})")
    process.kill()
    process.join()
    return found


def meet_share(make: Callable[[], Iterable[Reader]], name: str, folder: Path, n_all: int) -> list[str]:
    """Return the complaints about one of all readers, which share `n_all` faults."""
    reader = next(reader for reader in make() if reader.name == name)
    return complaints(reader, folder, range(-(-n_all // len(NAMES_OF_READERS))))


@pytest.mark.parametrize(("make", "name"), NAMES_OF_READERS)
def test_a_damaged_file_is_read_as_it_says_or_refused(tmp_path, make, name):
    assert meet_share(make, name, tmp_path, N_DEFAULT) == []


@pytest.mark.slow
@pytest.mark.parametrize(("make", "name"), NAMES_OF_READERS)
def test_thousands_of_damaged_files_are_read_as_they_say_or_refused(tmp_path, make, name):
    assert meet_share(make, name, tmp_path, N_SLOW) == []


def test_every_reader_that_is_made_meets_faults():
    assert [(make, reader.name) for make in READERS for reader in make()] == list(NAMES_OF_READERS)


@pytest.mark.parametrize(
    ("read", "word"),
    [
        (lambda path: int("x"), "ValueError"),
        (lambda path: [], "records"),
        (lambda path: os._exit(3), "the reader died"),
        (lambda path: time.sleep(9), "no answer in 1 s"),
        (lambda path: next(iter(InputError(f"a{chr(10)}b").args[:0])), "StopIteration"),
        (lambda path: bytearray(1 << 40), "MemoryError"),
    ],
)
def test_bad_readers_are_found_out(tmp_path, monkeypatch, read, word):
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 1)
    before = [["a", "1"], ["b", "2"]]
    reader = Reader("bad.csv", text("k,v\na,1\nb,2\n", "bad.csv"), lambda path: before if path.read_bytes() == whole
                    else read(path), lines())  # fmt: skip
    whole = b"k,v\na,1\nb,2\n"
    assert any(word in complaint for complaint in complaints(reader, tmp_path, range(3)))
