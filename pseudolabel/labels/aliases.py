"""Clip ids that lists write in different ways: the exact id first, then what the recording's name says.

| alias | example |
|---|---|
| folder, ending | `eval/audio/abc.wav` is `abc` |
| leading `Y` of a YouTube id | `YKK227gPpRn4` is `KK227gPpRn4` |
| `<YouTube id>_<start>_<end>`, seconds | `KK227gPpRn4_30.000_40.000` is `KK227gPpRn4` from 30 s on |
| `<YouTube id>_<start>`, milliseconds | `KK227gPpRn4_30000` is `KK227gPpRn4` from 30 s on |

An id without a start stands for any start; ids whose starts or ends differ are different clips.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pseudolabel.errors import ClipMismatch, first_few
from pseudolabel.labels.readers import clip_id_of

YOUTUBE = r"(?P<y>Y?)(?P<id>[A-Za-z0-9_-]{11})"
SECONDS = re.compile(YOUTUBE + r"_(?P<start>\d+(\.\d+)?)_(?P<end>\d+(\.\d+)?)")
MILLISECONDS = re.compile(YOUTUBE + r"_(?P<ms>\d+)")
LEADING_Y = re.compile(r"Y(?P<id>[A-Za-z0-9_-]{11})")


class ClipName(NamedTuple):
    """What the name of a recording says: the bare id, and start and end in milliseconds where it states them."""

    bare_id: str
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True)
class MatchedClips:
    """For each clip asked for, the known id that is the same clip.

    Args:
        known: {asked: known id}, in the order asked; clips that are not known are left out.
        aliases: the asked ids that are known under another id.
        absent: the asked ids that are not known.
    """

    known: dict[str, str]
    aliases: tuple[str, ...]
    absent: tuple[str, ...]

    def report(self) -> str:
        """Return one line that says how the ids were matched."""
        line = f"{len(self.known)} of {len(self.known) + len(self.absent)} clips found"
        if self.aliases:
            pairs = (f"{asked} is {self.known[asked]}" for asked in self.aliases)
            line += f", {len(self.aliases)} under another id: {first_few(pairs)}"
        return line


def clip_name(text: str) -> ClipName:
    """Return what an id or a path to a recording says about its clip."""
    name = clip_id_of(text)
    if match := SECONDS.fullmatch(name):
        return ClipName(match["id"], _milliseconds(match["start"]), _milliseconds(match["end"]))
    if match := MILLISECONDS.fullmatch(name):
        return ClipName(match["id"], int(match["ms"]))
    if match := LEADING_Y.fullmatch(name):
        return ClipName(match["id"])
    return ClipName(name)


def match_clips(asked: Sequence[str], known: Iterable[str]) -> MatchedClips:
    """Return which known clip each asked one is: the same id, or else the one clip that its name stands for.

    Raises:
        ClipMismatch: two known clips fit an asked one, or two asked ones are the same known clip.
    """
    known = dict.fromkeys(known)
    by_bare_id = {}
    if any(clip_id not in known for clip_id in asked):
        for clip_id in known:
            name = clip_name(clip_id)
            by_bare_id.setdefault(name.bare_id, []).append((name, clip_id))
    found, aliases, absent, asked_as = {}, [], [], {}
    for clip_id in asked:
        if clip_id in known:
            match = clip_id
        else:
            name = clip_name(clip_id)
            fitting = [other for stated, other in by_bare_id.get(name.bare_id, ()) if _may_be_one(name, stated)]
            if len(fitting) > 1:
                raise ClipMismatch(f"clip {clip_id!r} may be any of {first_few(fitting)}", "", "Name the exact one.")
            match = fitting[0] if fitting else None
        if match is None:
            absent.append(clip_id)
            continue
        if asked_as.setdefault(match, clip_id) != clip_id:
            raise ClipMismatch(f"clips {asked_as[match]!r} and {clip_id!r} are both {match!r}", "", "Keep one of them.")
        found[clip_id] = match
        if match != clip_id:
            aliases.append(clip_id)
    return MatchedClips(found, tuple(aliases), tuple(absent))


def _milliseconds(seconds: str) -> int:
    return round(float(seconds) * 1000)


def _may_be_one(first: ClipName, second: ClipName) -> bool:
    pairs = zip(first[1:], second[1:], strict=True)
    return all(one is None or other is None or one == other for one, other in pairs)
