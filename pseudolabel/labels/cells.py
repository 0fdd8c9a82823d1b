"""What the cells of label lists mean: headings of columns, names of clips, labels written as a list."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path

from pseudolabel.errors import InputError, first_few
from pseudolabel.formatting import plural
from pseudolabel.tables import Fields, refuse_repeated, wrong_length

Labels = str | tuple[str, ...]  # joined by separators, or separate
Row = tuple[int, str, Labels]  # number of the line, JSON entry or Parquet row; clip id; labels
SUFFIXES = """
    .wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mpga .m4a .m4b .mp4 .m4v .mov .3gp .3g2 .aac .adts
    .webm .weba .mkv .mka .aif .aiff .aifc .au .snd .caf .wma .asf .wmv .avi .flv .amr .ac3 .eac3 .dts .ape .wv .tta
    .mpg .mpeg .ogv .ogx .sph .nist .voc
"""
RECORDINGS = tuple(SUFFIXES.split())
ENDINGS = (*RECORDINGS, ".npy")  # of names that stand for clips
# Headings without case, spaces and marks (`heading`); the first that a list has is taken.
OWN = "clipid"
FILES = (
    "filename", "fname", "file", "filepath", "path", "wav", "wavpath", "wavfile", "wavfilename", "audio", "audiofile",
    "audiofilename", "audiofilepath", "audiopath", "slicefilename", "recording",
)  # fmt: skip
VIDEOS = ("ytid", "youtubeid", "videoid", "segmentid")
NUMBERS_OR_IDS = ("id", "audioid", "clip", "uttid")
CLIPS = (OWN, *FILES, *VIDEOS, *NUMBERS_OR_IDS)
LABELS = (
    "labels", "label", "positivelabels", "classes", "class", "category", "categories", "tags", "tag", "eventlabels",
    "eventlabel", "classname", "classnames", "labelname", "labelnames", "classstring", "displayname", "displaynames",
    "humanlabels", "mids", "mid", "classid", "labelid", "target", "targets",
)  # fmt: skip
STARTS = (
    "onset", "onsets", "start", "starts", "starttime", "starttimes", "startseconds", "starttimeseconds", "begin",
    "begintime", "begintimes", "tmin",
)  # fmt: skip
ENDS = (
    "offset", "offsets", "end", "ends", "endtime", "endtimes", "endseconds", "endtimeseconds", "stop", "stoptime",
    "tmax",
)  # fmt: skip
JOINED = tuple(name for name in LABELS if name.endswith("s") and not name.endswith("ss"))  # several labels a cell
ONE = tuple(name for name in LABELS if name not in JOINED)
ACCEPTED = (
    "A list needs a column of clips (clip_id, filename, file, path, YTID, id ...), and one of labels (labels, label, "
    "class, category, tags ...) or a column of 0 and 1 for each class: docs/files.md has all headings."
)
NO_VALUE = ("", "nan", "null", "<na>", "n/a")  # what programs write for an empty cell
BARE = "Without a header: --format audioset-r (clip, labels), audioset or events."
ITEM = re.compile(r"""(?:np\.\w+\()?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?)\)?""")  # of a printed list


class Source:
    """The rows of a list that is being read.

    Args:
        path: the file.
        rows: its rows, if it is a text table.
        clips_only: the list may have no labels; a row is then a clip.

    Attributes:
        header_place: the place of the header in errors.
        remarks: sentences on what was left out or had several readings, complete when all rows are read.
    """

    def __init__(self, path: Path, rows: Iterable[Fields] = (), clips_only: bool = False):
        self.path, self.rows, self.header_place = path, iter(rows), str(path)
        self.clips_only = clips_only
        self.remarks: list[str] = []
        self._folder_of: dict[str, str] = {}
        self._another: dict[str, str] = {}  # {clip id: a second folder}

    def clip_id(self, name: str, id_of: Callable[[str], str] | None = None) -> str:
        """Return the clip id of a recording's name, or what `id_of` makes of a cell, and note the folder left out."""
        clip_id = (id_of or clip_id_of)(name)
        if ("/" in name or "\\" in name) and "/" not in clip_id and "\\" not in clip_id:
            folder = sys.intern(name.strip().replace("\\", "/").rpartition("/")[0])
            if self._folder_of.setdefault(clip_id, folder) != folder:
                self._another.setdefault(clip_id, folder)
        return clip_id

    def united(self) -> list[str]:
        """Return a remark on names that lie in several folders, if there are any."""
        if not self._another:
            return []
        named = first_few(f"{each} in {self._folder_of[each]} and {other}" for each, other in self._another.items())
        are = f"{plural(len(self._another), 'name')} in several folders, each taken as one clip"
        return [f"{are}: {named}; a column clip_id keeps folders apart"]

    def peek(self, n: int = 6) -> list[list[str]]:
        """Return the fields of the next rows, which stay to be read."""
        first = list(itertools.islice(self.rows, n))
        self.rows = itertools.chain(first, self.rows)
        return [fields for _, fields in first]

    def header(self) -> list[str]:
        """Return the first row that is not a comment; it stays to be read. Empty if there is none."""
        self.rows = itertools.dropwhile(lambda row: is_comment(row[1]), self.rows)
        line, names = next(self.rows, (1, []))
        self.rows = itertools.chain([(line, names)] if names else [], self.rows)
        self.header_place = self.place(line)
        return names

    def place(self, line: int) -> str:
        """Return the place of a row in errors."""
        return f"{self.path}:{line}"

    def prefer(self, names: Sequence[str], chosen: int, places: Sequence[int], what: str) -> None:
        """Remark that one of several columns is taken."""
        others = [names[place] for place in places if place != chosen]
        if others:
            self.remarks.append(f"{what} column {names[chosen]!r}, not {first_few(map(repr, others))}")

    def columns(self, places: Sequence[int], has_header: bool = True) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield each row's line number and the cells at these places, two or more; rows are as long as the first."""
        line, names = next(self.rows)
        if has_header:
            refuse_repeated(names, self.place(line))
        else:
            self.rows = itertools.chain([(line, names)], self.rows)
        pick, width = itemgetter(*places), len(names)
        for line, fields in self.rows:
            if len(fields) != width:
                raise wrong_length(fields, width, self.place(line))
            yield line, pick(fields)


def is_comment(fields: Sequence[str]) -> bool:
    """Return whether a row is one of the comments above AudioSet's lists."""
    return fields[0].startswith("# ") or fields == ["#"]


def clip_id_of(name: str) -> str:
    """Return a recording's file name without folder and extension; only extensions of recordings are removed."""
    name = name.strip().replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in ENDINGS else name


def is_recording(name: str) -> bool:
    """Return whether a name has an extension of recordings."""
    return name.strip().lower().endswith(ENDINGS)


def is_empty(cell: str) -> bool:
    """Return whether a cell is empty, or holds what programs write for no value."""
    return cell.strip().casefold() in NO_VALUE


def is_number(text: str) -> bool:
    """Return whether a cell is a number, with a decimal point or comma, or NaN."""
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


# ---- headings ---------------------------------------------------------------------------------------------------


def heading(name: str) -> str:
    """Return a heading in lower case without spaces and marks: `# File Name` becomes `filename`."""
    return re.sub("[^a-z0-9]+", "", name.casefold())


@lru_cache(maxsize=64)
def id_under(title: str) -> Callable[[str], str]:
    """Return what makes a clip id of a cell under this heading: `clip_id` holds ids as they are, others file names."""
    return str.strip if heading(title) == OWN else clip_id_of


def id_of_scores(title: str = "") -> Callable[[str], str]:
    """Return what makes a clip id of a name in a list of scored clips, under this heading if it has one.

    Unlike a label list, it holds ids unless the heading or an extension of recordings says that they are file names.
    """
    names = (title, title.rpartition("/")[2].removesuffix("s"))
    if any(heading(name) in FILES for name in names):
        return clip_id_of
    if heading(title) == OWN:
        return str.strip
    return lambda name: clip_id_of(name) if is_recording(name) else name.strip()


def places_of(names: Sequence[str], choices: Sequence[str]) -> list[int]:
    """Return the places of the columns with these headings, in the order of the choices."""
    titles = [heading(name) for name in names]
    return [place for choice in choices for place, title in enumerate(titles) if title == choice]


def clip_place(source: Source, names: Sequence[str], choices: Sequence[str] = CLIPS) -> int:
    """Return the place of the column that names the clips: of YouTube ids or recordings rather than of numbers.

    Args:
        names: the header, which is the next row of the source.

    Raises:
        InputError: there is none, or two columns may name the clips.
    """
    places, titles = places_of(names, choices), [heading(name) for name in names]
    rows = [row for row in source.peek()[1:] if len(row) == len(names)]
    if not places:
        raise absent_column("clip_id", names, source.header_place)
    places = [place for place in places if not all(is_empty(row[place]) for row in rows)] or places
    files = [place for place in places if titles[place] in FILES]
    others = [place for place in places if titles[place] not in FILES]
    recordings = [place for place in files if any(is_recording(row[place]) for row in rows)]
    first = [place for place in others if titles[place] in (OWN, *VIDEOS)]
    texts = [place for place in others if not all(row[place].strip().isdigit() for row in rows)]
    if files and texts and not (first or recordings):
        message = f"clips may be named by column {names[files[0]]!r} or {names[texts[0]]!r}"
        raise InputError(message, source.header_place, "Call the right one clip_id.")
    chosen = (first or recordings or files or others)[0]
    other = [p for p in places if any(clip_id_of(row[p]) != clip_id_of(row[chosen]) for row in rows)]
    source.prefer(names, chosen, other, "clips are named by")
    return chosen


def label_place(source: Source, names: Sequence[str], choices: Sequence[str] = LABELS) -> int:
    """Return the place of the column of labels, names rather than numbers; InputError if there is none.

    Where a list may have none, it is the column of clips.
    """
    places = places_of(names, choices)
    if not places and source.clips_only:
        return clip_place(source, names)
    if not places:
        raise absent_column("labels", names, source.header_place)
    rows = [row for row in source.peek()[1:] if len(row) == len(names)]
    texts = [place for place in places if not all(is_number(row[place]) for row in rows)]
    chosen = (texts or places)[0]
    source.prefer(names, chosen, texts, "labels are read from")
    return chosen


def absent_column(name: str, names: Sequence[str], place: object) -> InputError:
    """Return the error for a list without a column of clips or labels, or without a header."""
    found = ", ".join(names) or "none"
    if any(";" in name for name in names) and places_of(",".join(names).split(";"), CLIPS):
        message = "columns are separated by semicolons, and the header has commas"
        return InputError(message, place, "Separate columns by tabs.")
    if any(is_number(cell) or is_recording(cell) for cell in names):
        return InputError(f"the first row is not a header: {found}", place, f"{ACCEPTED} {BARE}")
    remedy = ACCEPTED if places_of(names, CLIPS + LABELS) else f"{ACCEPTED} {BARE}"
    return InputError(f"column {name!r} is missing; columns found: {found}", place, remedy)


# ---- labels -----------------------------------------------------------------------------------------------------


def labels_in(cell: str) -> Labels:
    """Return the labels of a cell: a list as Python or NumPy prints it item by item, else text without outer quotes."""
    if not cell or cell[0] not in '[({" ':  # nearly always
        return cell
    cell = cell.strip()
    if len(cell) < 2 or cell[0] not in '[({"':
        return cell
    inner = cell[1:-1]
    if cell[0] == '"':
        return inner if cell[-1] == '"' and '"' not in inner else cell
    if cell[-1] != {"[": "]", "(": ")", "{": "}"}[cell[0]]:
        return cell
    if not ITEM.sub("", inner).strip(", "):
        return tuple(map(_unquoted, ITEM.findall(inner)))
    return inner if cell[0] == "[" and not set(inner) & set("[]'\"") else cell


def _unquoted(item: str) -> str:
    return re.sub(r"\\(.)", r"\1", item[1:-1]) if item[0] in "'\"" else item
