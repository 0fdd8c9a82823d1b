"""Options of `prepare`: which recordings become clips, how, and which lists label them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pseudolabel.audio.clips import CODECS
from pseudolabel.audio.encoding import SHORTEST_S
from pseudolabel.errors import InputError
from pseudolabel.layout import BALANCED, CLIPS, EVALUATION, LABELS, SCENES, VALIDATION
from pseudolabel.machine import allowed_cores
from pseudolabel.options import PROCESSES, SAMPLE_RATE, SECONDS, ListOptions, Rule, VerbOptions, name_value, option

LIMIT = Rule(f"a number of at least {SHORTEST_S}", lambda value: value >= SHORTEST_S).up_to(SECONDS.most)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(ListOptions, VerbOptions):
    """Which recordings become clips, how, and which lists label them."""

    audio: tuple[Path, ...] = option(
        (), "folders of recordings, .tar or .parquet files of them", metavar="PATH", file=SCENES
    )
    segments: Path | None = option(
        None, "clips are these seconds of the recordings: file,start,end and optionally clip_id", metavar="CSV"
    )
    add: bool = option(False, "decode only what the finished store lacks, and rewrite it")
    labels: tuple[Path, ...] = option((), "label lists of training clips", metavar="LIST")
    balanced: tuple[Path, ...] = option((), "label lists of balanced training clips", metavar="LIST")
    validation: tuple[Path, ...] = option((), "label lists of held-out clips", metavar="LIST")
    eval: tuple[Path, ...] = option((), "label lists of evaluation clips", metavar="LIST")
    groups: Path | None = option(None, "clip_id,group (default: clips.csv beside the folder of --audio)", metavar="CSV")
    sample_rate: int = option(16_000, "Hz", SAMPLE_RATE, metavar="N")
    codec: str = option("pcm16", "pcm16 is fast, flac small", choices=CODECS)
    limit_seconds: float | None = option(None, "only the first N seconds of a recording", LIMIT, metavar="N")
    # In a script, more than one process needs `if __name__ == "__main__":` around the call: each imports the script.
    processes: int = option(
        rule=PROCESSES,
        factory=allowed_cores,
        help="never changes the result (default: the cores it may use)",
        metavar="N",
    )
    stats: str | None = option(
        None,
        "mean and standard deviation of these features of all clips, of the existing or the new store",
        choices=("log_mel", "kaldi_fbank"),
    )
    front_end: tuple[tuple[str, object], ...] = option(
        (), "of --stats, e.g. n_mels=64 hop_s=.02", parse=name_value, metavar="NAME=VALUE", needs="stats"
    )
    out: Path | None = option(None, "clip store (default: WORK/clips.h5)", metavar="FILE")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.add and self.overwrite:
            raise InputError("--add keeps the existing store", "--overwrite", "Give one of them.")

    @property
    def store(self) -> Path:
        """The clip store to write."""
        return self.out or self.work / CLIPS

    @property
    def recordings(self) -> tuple[Path, ...]:
        """The folders and files of recordings."""
        return self.audio or (self.work / SCENES,)

    @property
    def lists(self) -> dict[str, tuple[Path, ...]]:
        """{file name in WORK: the label lists to write there}."""
        return {LABELS: self.labels, BALANCED: self.balanced, VALIDATION: self.validation, EVALUATION: self.eval}

    @property
    def uses_own_lists(self) -> bool:
        """Whether the label lists are those in WORK, beside its recordings."""
        return not self.audio and not any(self.lists.values())

    @property
    def replaces(self) -> bool:
        """Whether a finished store may be rewritten."""
        return self.overwrite or self.add

    @property
    def only_stats(self) -> bool:
        """Whether the store is finished and stays unchanged."""
        return bool(self.stats) and self.store.exists() and not self.replaces
