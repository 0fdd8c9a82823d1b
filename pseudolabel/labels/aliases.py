"""Match clip ids that lists write in different ways: first by the exact id, then by the recording's name.

| alias | example |
|---|---|
| folder, extension | `eval/audio/abc.wav` is `abc` |
| leading `Y` of a YouTube id | `YKK227gPpRn4` is `KK227gPpRn4` |
| `<YouTube id>_<start>_<end>` or `..._<start>-<end>`, seconds | `KK227gPpRn4_30.0-40.0` is `KK227gPpRn4` from 30 s on |
| `<YouTube id>_<start>`, seconds with a decimal point | `KK227gPpRn4_30.000` is `KK227gPpRn4` from 30 s on |
| `<YouTube id>_<start>`, milliseconds, 0 or at least 1000 | `KK227gPpRn4_30000` is `KK227gPpRn4` from 30 s on |

An id without a start matches any start; ids whose starts or ends differ are different clips, and so are `a/x` and
`b/x`. A number from 1 to 999 is a counter (`recording01_2`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pseudolabel.errors import ClipMismatch, first_few
from pseudolabel.labels.readers import ENDINGS, clip_id_of

YOUTUBE = re.compile(
    r"Y?(?P<id>[A-Za-z0-9_-]{11})"
    r"(?:_(?P<start>\d+(?:\.\d+)?)[_-](?P<end>\d+(?:\.\d+)?)|_(?P<from>\d+\.\d+)|_(?P<ms>0|[1-9]\d{3,}))?"
)
ID_LENGTH, LONGEST_ENDING = 11, max(map(len, ENDINGS))


class ClipName(NamedTuple):
    """The parts of a recording's name: the bare id, and start and end in milliseconds if stated."""

    bare_id: str
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True)
class MatchedClips:
    """The requested ids that are known (`found`, in the order asked), and those that are not (`absent`).

    `aliases` is {requested id: known id} for those known under another id.
    """

    found: tuple[str, ...]
    aliases: dict[str, str]
    absent: tuple[str, ...]

    def known(self) -> list[str]:
        """Return the known id of each clip of `found`."""
        return [self.aliases.get(clip_id, clip_id) for clip_id in self.found] if self.aliases else list(self.found)

    def report(self, what: object) -> str:
        """Return `aliases_report` of these clips."""
        return aliases_report(self.aliases, len(self.found) + len(self.absent), what)


def aliases_report(aliases: Mapping[str, str], n_asked: int, what: object) -> str:
    """Return one line about the clips found under another id, '' if there are none; `what` was looked for."""
    if not aliases:
        return ""
    pairs = first_few(f"{asked} is {known}" for asked, known in aliases.items())
    return f"{len(aliases)} of {n_asked} clips found under another id ({what}): {pairs}"


def clip_name(text: str) -> ClipName:
    """Parse an id, or a path to a recording."""
    name = clip_id_of(text)
    match = YOUTUBE.fullmatch(name)
    if not match:
        return ClipName(name)
    bare_id, start, end, start_alone, ms = match.groups()
    if start:
        return ClipName(bare_id, _milliseconds(start), _milliseconds(end))
    if start_alone:
        return ClipName(bare_id, _milliseconds(start_alone))
    return ClipName(bare_id, int(ms) if ms else None)


def match_clips(asked: Sequence[str], known: Collection[str], place: object = "") -> MatchedClips:
    """Match each requested clip to a known one: the one with the same id, else the one that fits its name.

    Args:
        asked, known: distinct ids; `known` is fastest as a dict with the ids as keys.
        place: the file that errors name.

    Raises:
        ClipMismatch: two known clips fit a requested one, or two requested clips are the same known clip.
    """
    known = known if isinstance(known, dict) else dict.fromkeys(known)
    found = [clip_id for clip_id in asked if clip_id in known]
    if len(found) == len(asked):
        return MatchedClips(tuple(found), {}, ())
    others = [clip_id for clip_id in asked if clip_id not in known]
    aliases = find_aliases(others, known, place, exact=set(found))
    if aliases:
        asked_as = {known_id: clip_id for clip_id, known_id in aliases.items()}
        taken = next((clip_id for clip_id in found if clip_id in asked_as), None)
        if taken is not None:
            raise one_clip_twice(taken, asked_as[taken], taken, place)
        found = [clip_id for clip_id in asked if clip_id in known or clip_id in aliases]
    absent = (clip_id for clip_id in asked if clip_id not in known and clip_id not in aliases)
    return MatchedClips(tuple(found), aliases, tuple(absent))


def find_aliases(
    absent: Collection[str], known: Iterable[str], place: object = "", exact: Collection[str] = ()
) -> dict[str, str]:
    """Return {absent id: known id} for the ids that name the same clip as a known one; errors as `match_clips`.

    The caller must check that a matched known id is not itself requested.

    Args:
        exact: known ids that are requested themselves: not what an id in another folder names (`c/a/x` beside `a/x`).
    """
    aliases: dict[str, str] = {}
    asked_as: dict[str, str] = {}
    for clip_id, fitting in _fitting(absent, known):
        fitting = [other for other in fitting if _may_name(clip_id, other, whole=other in exact)]
        if not fitting:
            continue
        if len(fitting) > 1:
            raise ClipMismatch(f"clip {clip_id!r} may be any of {first_few(fitting)}", place, "Name the exact one.")
        other = asked_as.setdefault(fitting[0], clip_id)
        if other != clip_id:
            raise one_clip_twice(other, clip_id, fitting[0], place)
        aliases[clip_id] = fitting[0]
    return aliases


def same_clips(first: Collection[str], second: Collection[str], listed: Collection[str] = ()) -> dict[str, str]:
    """Return {id in `first`: id in `second`} of clips that are or may be the same, in the order of `first`.

    For lists that must not share clips, such as training and validation: an id without a start matches the same id with
    any start. `a/x` and `b/x` are different clips if `first`, `second` or `listed`, such as a clip store, has both.
    """
    lists, found = (set(first), set(second), listed), {}

    def differ(one: str, other: str) -> bool:
        return _in_other_folders(one, other) and any(one in ids and other in ids for ids in lists)

    if len(first) > len(second):
        for other, fitting in _fitting(second, first):
            for clip_id in fitting:
                if clip_id == other or (clip_id not in found and not differ(clip_id, other)):
                    found[clip_id] = other
        return {clip_id: found[clip_id] for clip_id in first if clip_id in found}
    for clip_id, fitting in _fitting(first, second):
        fitting = [other for other in fitting if not differ(clip_id, other)]
        if fitting:
            found[clip_id] = clip_id if clip_id in fitting else fitting[0]
    return found


def _fitting(asked: Collection[str], known: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each requested id that fits known ids, with those ids; only known ids that might fit are parsed."""
    bare_id_of = {clip_id: clip_name(clip_id).bare_id for clip_id in asked}
    wanted = set(bare_id_of.values())
    first_of: dict[str, str] = {}
    others_of: dict[str, list[str]] = {}
    for clip_id in known:
        if (
            clip_id in wanted
            or clip_id[:ID_LENGTH] in wanted
            or clip_id[1 : ID_LENGTH + 1] in wanted
            or "/" in clip_id
            or "\\" in clip_id
            or ("." in clip_id[-LONGEST_ENDING:] and clip_id.lower().endswith(ENDINGS))
        ):
            bare_id = clip_name(clip_id).bare_id
            if bare_id in wanted and first_of.setdefault(bare_id, clip_id) is not clip_id:
                others_of.setdefault(bare_id, []).append(clip_id)
    for clip_id, bare_id in bare_id_of.items():
        if bare_id in first_of:
            fitting = [first_of[bare_id], *others_of.get(bare_id, ())]
            if len(clip_id) > ID_LENGTH + 1:  # it may state times
                name = clip_name(clip_id)
                fitting = [other for other in fitting if _may_be_one(name, clip_name(other))]
            if fitting:
                yield clip_id, fitting


def _folders(text: str) -> str:
    return text.replace("\\", "/").rpartition("/")[0]


def _in_other_folders(first: str, second: str) -> bool:
    folders = _folders(first), _folders(second)
    return all(folders) and folders[0] != folders[1]


def _may_name(first: str, second: str, whole: bool) -> bool:
    """Return whether the folders of two ids allow one clip: equal, absent, or one the end of the other if not `whole`.

    `eval/x` may be `data/eval/x`, never `train/x`.
    """
    short, long = sorted((_folders(first), _folders(second)), key=len)
    return not short or short == long or (not whole and long.endswith(f"/{short.removeprefix('./')}"))


def one_clip_twice(first: str, second: str, known: str, place: object) -> ClipMismatch:
    """Return the error for two requested ids that are the same known clip."""
    return ClipMismatch(f"clips {first!r} and {second!r} are both {known!r}", place, "Keep one of them.")


def _milliseconds(seconds: str) -> int:
    return round(float(seconds) * 1000)


def _may_be_one(first: ClipName, second: ClipName) -> bool:
    starts_fit = first.start_ms is None or second.start_ms is None or first.start_ms == second.start_ms
    return starts_fit and (first.end_ms is None or second.end_ms is None or first.end_ms == second.end_ms)
