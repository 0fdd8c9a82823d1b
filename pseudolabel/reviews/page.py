"""The review page: one HTML file that asks about every item of a sample and keeps a person's answers.

The page is text, script and style from this package, and the items as JSON; names and ids are only ever shown as text.
A blind page holds only the clip and the class of each item: no type, score, threshold or histogram, and not the clip's
labels, which would distinguish decoys from additions.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pseudolabel.artefacts import whole_file
from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.media import flac_bytes, frequency_ticks, log_mel_png, video_of, watch_url
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import progress_over
from pseudolabel.reviews.histograms import HIGHEST, LOWEST, class_histograms
from pseudolabel.reviews.items import Item, Sample
from pseudolabel.scores.store import ScoreStore
from pseudolabel.templates import package_text, render_parts, script_json, script_of

AUDIO = "audio"  # holds a folder named after the page, so that several pages can be served from one place
AUDIO_FILE, PICTURE_FILE = AUDIO + "/{page}/{number:04d}.flac", "pictures/{number:04d}.png"
SCRIPTS = ("text.js", "judgements.js", "histogram.js", "player.js", "review.js")


@dataclass(frozen=True)
class PageSources:
    """The sources of what a page shows.

    Args:
        vocabulary: names of the classes.
        labels: the original labels, also used for the histograms.
        clips: the sound; None: only links to the source videos.
        scores: for the histograms; None: no histograms.
        segments: {clip id: (start, end)}, seconds, where the clips are in their videos (AudioSet).
        embed: whether sound and pictures are in the page itself, not in folders beside it.
        title: heading of the page.
    """

    vocabulary: Vocabulary
    labels: LabelTable
    clips: ClipStore | None = None
    scores: ScoreStore | None = None
    segments: Mapping[str, tuple[float, float]] | None = None
    embed: bool = True
    title: str = "Review of added labels"


def write_page(folder: str | Path, sample: Sample, sources: PageSources) -> Path:
    """Write `index.html` into `folder`, with `audio/` and `pictures/` unless embedded; return its path.

    Raises:
        InputError: an item's class is not in the vocabulary, or its clip not in the label list.
    """
    from markupsafe import Markup

    folder = Path(folder)
    check_sample(sample, sources)
    sources, sounding = with_sound(sample, sources)
    parts = render_parts(
        "pseudolabel.reviews",
        "review.html.j2",
        title=sources.title,
        style=Markup(package_text("pseudolabel.reviews", "review.css")),
        **script_of("pseudolabel.reviews", SCRIPTS),
        content=Markup(script_json(page_content(sample, sources, sounding))),
        embedded=_embedded(_media(sample, sources, sounding), None if sources.embed else folder),
    )
    with whole_file(folder / "index.html") as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(parts)
    return folder / "index.html"


def _media(sample: Sample, sources: PageSources, sounding: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield file name and bytes of each clip's sound and picture."""
    numbers = clip_numbers(sample)
    for clip_id in progress_over(sounding, "clips of the page", len(sounding)):
        samples = sources.clips.read(clip_id)
        sound, picture = _files(sample, numbers[clip_id])
        yield sound, flac_bytes(sources.clips, clip_id)
        yield picture, log_mel_png(samples, sources.clips.sample_rate)


def _files(sample: Sample, number: int) -> tuple[str, str]:
    """Return the names of a clip's sound and picture."""
    return AUDIO_FILE.format(page=sample.page, number=number), PICTURE_FILE.format(number=number)


def _embedded(media: Iterable[tuple[str, bytes]], folder: Path | None) -> Iterator[tuple[str, str]]:
    """Yield name and base64 text of each file embedded in the page; with a folder, write all files there instead."""
    for name, content in media:
        if folder is None:
            yield name, _base64(content)
        else:
            with whole_file(folder / name) as temporary:
                temporary.write_bytes(content)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def clip_numbers(sample: Sample) -> dict[str, int]:
    """Return each clip's number in file names: 1, 2, ... in the order of the items."""
    clip_ids = dict.fromkeys(item.clip_id for item in sample.items)
    return {clip_id: number for number, clip_id in enumerate(clip_ids, 1)}


def with_sound(sample: Sample, sources: PageSources) -> tuple[PageSources, tuple[str, ...]]:
    """Return sources whose clip store accepts the sample's ids, and the clips that it has, in order of the items."""
    if sources.clips is None:
        return sources, ()
    matched = match_clips(list(clip_numbers(sample)), sources.clips.index, sources.clips.path)
    return replace(sources, clips=sources.clips.with_aliases(matched.aliases)), matched.found


def page_content(sample: Sample, sources: PageSources, sounding: Iterable[str]) -> dict[str, object]:
    """Return what the page's script reads; `sounding` are the clips that have sound."""
    content: dict[str, object] = {"page": sample.page, "blind": sample.blind, "embedded": sources.embed}
    content |= questions(sample, sources, sounding)
    if sources.clips is not None:
        content["ticks"] = frequency_ticks(sources.clips.sample_rate)
    if not sample.blind and sources.scores is not None:
        window_s = next((item.window_s for item in sample.items if item.window_s is not None), None)
        wanted = _ordered({item.class_id for item in sample.items}, sources.vocabulary)
        content["log_odds"] = [LOWEST, HIGHEST]
        content["histograms"] = class_histograms(sources.labels, sources.scores, wanted, window_s)
    return content


def questions(sample: Sample, sources: PageSources, sounding: Iterable[str]) -> dict[str, object]:
    """Return `items`, `clips` and `names`: all that may be shown of each item, and nothing more on a blind page."""
    sounding, numbers = set(sounding), clip_numbers(sample)
    clips = [_clip(clip_id, clip_id in sounding, number, sample, sources) for clip_id, number in numbers.items()]
    items = [_item(item, numbers[item.clip_id] - 1, sample) for item in sample.items]
    mentioned = {class_id for item in items for class_id in (item["class_id"], *item.get("because", ()))}
    mentioned |= {class_id for clip in clips for class_id in clip.get("labels", ())}
    vocabulary = sources.vocabulary
    names = {class_id: vocabulary.names[vocabulary.index[class_id]] for class_id in _ordered(mentioned, vocabulary)}
    return {"names": names, "clips": clips, "items": items}


def _item(item: Item, clip: int, sample: Sample) -> dict[str, object]:
    """Return an item as the page holds it; a blind one shows a window only if every item has one."""
    shown: dict[str, object] = {"item": item.item, "clip": clip, "class_id": item.class_id}
    all_have_windows = all(other.window_s is not None for other in sample.items)
    if item.window_s is not None and item.onset_s is not None and (all_have_windows or not sample.blind):
        shown["window"] = [item.onset_s, item.window_s]
    if not sample.blind:
        shown |= {"kind": item.kind, "error": item.error, "because": list(item.because)}
        shown |= {"score": item.score, "threshold": item.threshold}
        shown |= {"probability": item.probability} if item.probability is not None else {}
    return shown


def _clip(clip_id: str, sounds: bool, number: int, sample: Sample, sources: PageSources) -> dict[str, object]:
    shown: dict[str, object] = {"clip_id": clip_id}
    if not sample.blind:
        row = sources.labels.matrix[[sources.labels.row_of[clip_id]]]
        shown["labels"] = [sources.vocabulary.class_ids[column] for column in row.indices.tolist()]
    if sounds:
        n_samples = int(sources.clips.n_samples[sources.clips.rows([clip_id])[0]])
        shown["duration_s"] = round(n_samples / sources.clips.sample_rate, 3)
        shown["audio"], shown["picture"] = _files(sample, number)
    video = video_of(clip_id, sources.segments)
    if video:
        shown["video"] = {"start_s": video[1], "url": watch_url(*video)}
    return shown


def _ordered(class_ids: set[str], vocabulary: Vocabulary) -> list[str]:
    return sorted(class_ids, key=lambda class_id: vocabulary.index[class_id])


def check_sample(sample: Sample, sources: PageSources) -> None:
    """Raise InputError if an item's class is not in the vocabulary or its clip not in the label list."""
    for item in sample.items:
        for class_id in (item.class_id, *item.because):
            if class_id not in sources.vocabulary.index:
                raise sources.vocabulary.unknown(class_id, f"item {item.item}")
    sources.labels.rows(list(clip_numbers(sample)))
    if not sample.items:
        raise InputError("the sample has no items", remedy="Give a ledger with additions, or a larger --budget.")
    names = [item.item for item in sample.items]
    if len(set(names)) != len(names):
        repeated = first_few(name for name in dict.fromkeys(names) if names.count(name) > 1)
        raise InputError(f"items are listed twice: {repeated}")
