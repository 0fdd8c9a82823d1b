"""Writers of label lists in the forms that others read: AudioSet's segment list, PSLA's JSON, Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scipy import sparse

from pseudolabel.artefacts import whole_file
from pseudolabel.errors import InputError

LabelRows = Iterable[tuple[str, Sequence[str]]]  # clip id, class ids


def write_audioset(
    path: str | Path,
    rows: LabelRows,
    segments: Mapping[str, tuple[str, str]],
    overwrite: bool = True,
    above: Sequence[str] = (),
) -> None:
    """Write `YTID, start, end, "id,id"` under the published comment line of the columns, `above` it further ones.

    Raises:
        InputError: a clip has no segment, or an id cannot stand in such a list.
    """
    with whole_file(path, overwrite) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in above)
        file.write("# YTID, start_seconds, end_seconds, positive_labels\n")
        for clip_id, labels in rows:
            if clip_id not in segments:
                remedy = "Give the segments of these clips, or write another format."
                raise InputError(f"clip {clip_id!r} has no start and end", path, remedy)
            if set(clip_id) & set(',"\r\n') or clip_id.startswith("# "):
                raise InputError(f"clip id {clip_id!r} cannot stand in a segment list", path, "Write another format.")
            start, end = segments[clip_id]
            file.write(f'{clip_id}, {start}, {end}, "{_joined(labels, path)}"\n')


def write_psla(path: str | Path, rows: LabelRows, wav: str, overwrite: bool = True) -> None:
    """Write `{"data": [{"wav": PATH, "labels": "id,id"}]}`, one entry a line; `wav` has the place `{clip_id}`."""
    if "{clip_id}" not in wav:
        raise InputError(f"{wav!r} names the same recording for every clip", path, "It needs the place {clip_id}.")
    with whole_file(path, overwrite) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write('{"data": [')
        for number, (clip_id, labels) in enumerate(rows):
            entry = {"wav": wav.replace("{clip_id}", clip_id), "labels": _joined(labels, path)}
            file.write(f"{',' if number else ''}\n{json.dumps(entry, ensure_ascii=False)}")
        file.write("\n]}\n")


def write_parquet(
    path: str | Path,
    clip_ids: Sequence[str],
    matrix: sparse.csr_array,
    class_ids: Sequence[str],
    overwrite: bool = True,
) -> None:
    """Write the columns `clip_id` (text) and `labels` (list of texts), with a checksum of each page."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = pa.array(class_ids, pa.string()).take(pa.array(matrix.indices))
    lists = pa.ListArray.from_arrays(pa.array(matrix.indptr, pa.int32()), labels)
    table = pa.table({"clip_id": pa.array(clip_ids, pa.string()), "labels": lists})
    with whole_file(path, overwrite) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _joined(labels: Sequence[str], path: str | Path) -> str:
    text = ",".join(labels)
    if text.count(",") > max(len(labels) - 1, 0) or '"' in text:
        raise InputError(f"a class id of {list(labels)} has a comma or a quote", path, "Write csv or parquet.")
    return text
