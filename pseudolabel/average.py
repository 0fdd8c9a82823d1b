"""Average models or scores: the weights of checkpoints or runs into one model, several score stores into one.

    python -m pseudolabel.average weights work/runs/teacher --epochs 16-30   # train with --keep-checkpoints all
    python -m pseudolabel.average weights work/runs/a work/runs/b --out work/runs/ab
    python -m pseudolabel.average scores a.h5 b.h5 --weights 1 2 --out ab.h5

Weights are averaged in float64, and batch-norm statistics are estimated again on the training clips, because the mean
of the statistics is not the statistics of the mean. Average the weights only of runs that started from the same
weights; for others, average the scores. Scores are matched by clip id and class id, in any order. Their mean is a mean
of probabilities, computed in float64 and stored as `score` stores it, or as float32 if one of the stores is float32. A
clip or class missing from one store is an error; --common leaves it out and lists it in NAME.missing.csv.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pseudolabel import cli, dry_run, layout
from pseudolabel.artefacts import whole_folder, write_csv
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import only_run
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, first_few, no_file, shown
from pseudolabel.options import COUNT, NON_NEGATIVE, SEED, DeviceOptions, VerbOptions, option, parse_number
from pseudolabel.ownership import read_run, refuse_foreign, refuse_input_as_output
from pseudolabel.plan_checks import check_device, check_lists, check_stores, promise_joined
from pseudolabel.records import Inputs, run_record, sha256, write_run_record
from pseudolabel.score_stores import refuse_foreign_store, write_beside
from pseudolabel.scores.ensemble import Matching, average_scores
from pseudolabel.scores.store import ScoreStore
from pseudolabel.training.out_of_fold import read_seen
from pseudolabel.training.run_folder import checkpoint_files, chosen_epochs


def parse_epochs(text: str) -> tuple[int, int]:
    """Return the first and last epoch of `16-30`, or of `16` alone.

    Raises:
        ValueError: the text has another form.
    """
    first, dash, last = text.partition("-")
    if not all(part.isascii() and part.isdigit() for part in (first, last if dash else first)):
        raise ValueError(f"must be like 16-30, not {shown(text)}")
    return int(parse_number(first, int, COUNT)), int(parse_number(last or first, int, COUNT))


NORM = "batch-norm statistics of the averaged weights"


@dataclass(frozen=True, kw_only=True)
class AverageWeightsOptions(VerbOptions, DeviceOptions):
    """Which weights to average, and which clips to estimate batch-norm statistics on."""

    runs: tuple[Path, ...] = option((), "run folders; one alone: its checkpoints", metavar="RUN", positional=True)
    epochs: tuple[int, int] | None = option(
        None, "of the one run's checkpoints (default: all there)", parse=parse_epochs, metavar="A-B"
    )
    weights: tuple[float, ...] = option((), "one each (default: equal)", NON_NEGATIVE, metavar="W")
    row: str | None = option(
        None,
        "name of the model in tables, where models of one row that differ in seed or epoch are one line "
        "(default: ROW-averaged)",
        metavar="NAME",
    )
    out: Path | None = option(None, "model folder (default: RUN-epochsA-B, else runs/averaged in the runs' WORK)")
    statistics: str = option(
        "estimate", "estimate: on clips; mean: of the averaged models' own", choices=("estimate", "mean"), group=NORM
    )
    clips: Path | None = option(None, "clip store", file=layout.CLIPS, group=NORM, needs="statistics=estimate")
    list: Path | None = option(
        None,
        "label list whose clips they are estimated on (default: the training clips)",
        group=NORM,
        needs="statistics=estimate",
    )
    vocabulary: str | None = option(
        None, "to read --list with (default: WORK/vocabulary.csv, else audioset)", group=NORM, needs="list"
    )
    pieces: int = option(10_000, "maximum number of pieces", COUNT, group=NORM, needs="statistics=estimate")
    batch_size: int = option(32, "pieces a batch", COUNT, group=NORM, needs="statistics=estimate")
    seed: int = option(0, "which pieces, in which batches", SEED, group=NORM, needs="statistics=estimate")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runs:
            raise InputError("nothing to average", "", "Name one run whose checkpoints are kept, or several runs.")
        if self.epochs and not 1 <= self.epochs[0] <= self.epochs[1]:
            raise InputError(f"must be first to last, as 16-30, not {self.epochs[0]}-{self.epochs[1]}", "--epochs")
        if self.epochs and len(self.runs) > 1:
            raise InputError(
                "applies to the checkpoints of one run; for several runs, the final weights are averaged",
                "--epochs",
                "Omit it, or name one run.",
            )
        check_weights(self.weights, 0 if len(self.runs) == 1 else len(self.runs))


@dataclass(frozen=True, kw_only=True)
class AverageScoresOptions(VerbOptions):
    """Which score stores to average."""

    stores: tuple[Path, ...] = option((), "score stores, two or more", metavar="STORE", positional=True)
    weights: tuple[float, ...] = option((), "one each (default: equal)", NON_NEGATIVE, metavar="W")
    common: bool = option(False, "only the clips and classes that every store has")
    out: Path | None = option(None, "store to write (default: ensemble.h5 in the stores' WORK)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.stores) < 2:
            raise InputError("at least two score stores are needed", "average scores", "Name two or more stores.")
        check_weights(self.weights, len(self.stores))


def check_weights(weights: Sequence[float], n: int) -> None:
    """Raise InputError unless there is a weight for each of the n models or stores (n = 0: unknown yet), not all 0."""
    if weights and n and len(weights) != n:
        raise InputError(f"{len(weights)} weights for {n} models or stores", "--weights", "Give one each.")
    if weights and not 0 < sum(weights) < math.inf:
        raise InputError("must not all be 0", "--weights", "Leave them out for equal ones.")


# ---- score stores -----------------------------------------------------------------------------------------------


def ensemble_store(options: AverageScoresOptions) -> Path:
    """Return the store to write."""
    return options.out or cli.home(options, *options.stores) / layout.ENSEMBLE


def average_stores(options: AverageScoresOptions) -> None:
    """Write the store of mean scores."""
    out = ensemble_store(options)
    refuse_input_as_output(out, options.stores)
    with only_run(out):
        refuse_foreign_store(out, options.overwrite)
        _write_mean(options, out)


def _write_mean(options: AverageScoresOptions, out: Path) -> None:
    inputs = Inputs()
    stores = [ScoreStore.open(inputs.read(path)) for path in options.stores]
    record = run_record("average", asdict(options), inputs)
    digests = {"averaged_sha256": "; ".join(record["inputs"][str(path)] for path in options.stores)}

    def beside(crc32: int, matching: Matching) -> None:
        write_beside(out, {**record, "tables_crc32": crc32}, ("kind", "id", "missing_in"), matching.left_out)

    matching = average_scores(stores, out, options.weights or None, options.common, digests, options.overwrite, beside)
    dropped = [name for kind, name, _ in matching.left_out if kind == "scale"]
    note = f"; scales that not all have: {', '.join(dict.fromkeys(dropped))}" if dropped else ""
    left = {kind: {name for found, name, _ in matching.left_out if found == kind} for kind in ("clip", "class")}
    if left["clip"] or left["class"]:
        note += (f"; left out, as not every store has them: {len(left['clip'])} clips, {len(left['class'])} classes: "
                 f"{first_few(sorted(left['clip'] | left['class']))}")  # fmt: skip
    print(f"wrote {out}: mean of {len(stores)} stores, {len(matching)} clips x {len(matching.class_ids)} classes "
          f"at {', '.join(matching.scales)}{note}")  # fmt: skip


# ---- models -----------------------------------------------------------------------------------------------------


def averaged_tagger(options: AverageWeightsOptions, device):
    """Return the model with the mean weights, its statistics not yet estimated, and what was averaged, in words."""
    from pseudolabel.models import load_model
    from pseudolabel.models.files import read_config
    from pseudolabel.models.tagger import build_tagger
    from pseudolabel.training.averaging import checkpoint_states, mean_state

    first, weights = options.runs[0], options.weights or None
    if len(options.runs) == 1:
        config, epochs, states = checkpoint_states(first, *(options.epochs or (None, None)))
        check_weights(options.weights, len(epochs))
        tagger = build_tagger(config)
        tagger.load_state_dict(mean_state(states(), weights))
        what = f"{len(epochs)} checkpoints of {first.name} (epochs {epochs[0]} to {epochs[-1]})"
        return tagger.to(device).eval(), what
    configs = [read_config(run / layout.CONFIG) for run in options.runs]
    for run, config in zip(options.runs, configs, strict=True):
        other = [key for key in {**configs[0], **config} if config.get(key) != configs[0].get(key)]
        if other:
            message = f"its config differs from that of {first} in {', '.join(sorted(other))}"
            raise InputError(message, run, "Average their scores: average scores.")
    tagger = load_model(first)
    tagger.load_state_dict(mean_state((load_model(run).state_dict() for run in options.runs), weights))
    return tagger.to(device).eval(), f"{len(options.runs)} runs"


def trained_clips(runs: Sequence[Path]) -> list[str] | None:
    """Return the clips that any of the runs was trained on; None if a run does not record them."""
    paths = [run / layout.SEEN_CLIPS for run in runs]
    if not all(path.is_file() for path in paths):
        return None
    return list(dict.fromkeys(clip_id for path in paths for clip_id in read_seen(path)))


def estimate_statistics(
    options: AverageWeightsOptions, tagger, trained_on: list[str] | None, device, inputs: Inputs
) -> list[str]:
    """Estimate batch-norm statistics on the clips of --list, or on the training clips; return the clips used."""
    from pseudolabel.training.averaging import estimate_batch_norm, read_pieces, statistics_pieces

    if options.list is None and trained_on is None:
        message = f"no {layout.SEEN_CLIPS}: on which clips shall statistics be estimated?"
        raise InputError(message, "--list", "Give a label list, or --statistics mean.")
    named = (*options.runs, options.list)
    listed = cli.read_clip_ids(options.list) if options.list else trained_on
    path = options.clips or cli.base(options, *named) / layout.CLIPS
    if not path.is_file():
        raise no_file(path, "Give the --clips to estimate statistics on, or --statistics mean.")
    clips = ClipStore.open(inputs.read(path))
    if clips.sample_rate != tagger.sample_rate:
        message = f"the model expects {tagger.sample_rate} Hz, the clips have {clips.sample_rate} Hz"
        raise InputError(message, clips.path, "Give the --clips that it was trained on.")
    matched, clips = cli.find_in_store(listed, clips, options.list or Path(layout.SEEN_CLIPS), options.strict)
    rows = clips.rows(matched.found)
    window_s = tagger.config["window_s"]
    length = round(window_s * tagger.sample_rate) if window_s else int(clips.n_samples[rows].max())
    batches = statistics_pieces(clips, rows, length, options.pieces, options.batch_size, options.seed)
    n_batches = estimate_batch_norm(tagger, read_pieces(clips, batches, length), device, options.seed)
    print(f"batch-norm statistics of {n_batches} batches of {len(batches[0][0])} pieces")
    return list(matched.found)


def output_folder(options: AverageWeightsOptions) -> Path:
    """Return the folder to write: --out; else a name with the epochs, beside the one run; else runs/averaged."""
    out, run = options.out or cli.home(options, *options.runs) / "runs" / "averaged", options.runs[0]
    if len(options.runs) == 1 and not options.out:
        out = run.with_name(run.name + ("-epochs{}-{}".format(*options.epochs) if options.epochs else "-averaged"))
    refuse_input_as_output(out, [*options.runs, options.list, options.clips])
    return out


def average_weights(options: AverageWeightsOptions) -> None:
    """Write the run folder of the averaged model."""
    out = output_folder(options)
    with only_run(out):
        refuse_foreign(out, options.overwrite, "average")
        _write_model(options, out)


def _write_model(options: AverageWeightsOptions, out: Path) -> None:
    device, inputs, runs = cli.choose_device(options.device, options.threads), Inputs(), options.runs
    from pseudolabel.models import save_model
    from pseudolabel.training.averaging import batch_norms

    for path in (options.list, *(run / name for run in runs for name in (layout.WEIGHTS, layout.SEEN_CLIPS))):
        inputs.read(path)
    tagger, what = averaged_tagger(options, device)
    seen, estimated = trained_clips(runs), []
    if batch_norms(tagger) and options.statistics == "estimate":
        estimated = estimate_statistics(options, tagger, seen, device, inputs)
    earlier = read_run(runs[0]) if len(runs) == 1 else {}
    record = {
        "row": options.row or (f"{earlier['row']}-averaged" if earlier.get("row") else out.name),
        **({"epoch": options.epochs[0]} if options.epochs and options.epochs[0] == options.epochs[1] else {}),
        "n_parameters": sum(parameter.numel() for parameter in tagger.parameters()),
        "n_train_clips": None if seen is None else len(seen),
        "averaged": what,
    }
    with whole_folder(out, options.overwrite, "average") as folder:
        save_model(folder, tagger)
        digest = sha256(folder / layout.WEIGHTS)
        if seen is not None:  # the clips of --list were seen too
            write_csv(
                folder / layout.SEEN_CLIPS, ("clip_id",), [(clip,) for clip in dict.fromkeys([*seen, *estimated])]
            )
        run = run_record("average", asdict(options), inputs, earlier.get("seed"))  # differs within a row
        write_run_record(folder, {**record, "sha256": digest, **run})
    print(f"wrote {out}: mean weights of {what}, sha256 {digest}")


# ---- the command ------------------------------------------------------------------------------------------------


def plan_stores(options: AverageScoresOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the store."""
    out = ensemble_store(options)
    dry_run.refuse_absent(*options.stores)
    check_stores(ScoreStore, *options.stores)
    refuse_input_as_output(out, options.stores)
    dry_run.refuse_output(out, options.overwrite, lambda: refuse_foreign_store(out, options.overwrite))
    promise_joined(out, options.stores, all)
    return f"would write {out}: mean of {len(options.stores)} stores"


def plan_weights(options: AverageWeightsOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the run folder."""
    out, runs = output_folder(options), options.runs
    dry_run.refuse_absent(*(run / name for run in runs for name in (layout.WEIGHTS, layout.CONFIG)), options.list)
    check_lists(None, options.list)
    if len(runs) == 1:
        refuse_epochs(runs[0], options.epochs)
    clips = options.clips or cli.base(options, *runs, options.list) / layout.CLIPS
    if options.clips or (options.statistics == "estimate" and options.list):
        dry_run.refuse_absent(clips)
    check_device(options.device, options.threads)
    dry_run.refuse_folder(out, options.overwrite, "average")
    dry_run.promise(out, layout.WEIGHTS, layout.CONFIG, layout.RUN, layout.SEEN_CLIPS)
    return (
        f"would write {out}: mean weights of {f'checkpoints of {runs[0]}' if len(runs) == 1 else f'{len(runs)} runs'}"
    )


def refuse_epochs(run: Path, epochs: tuple[int, int] | None) -> None:
    """Raise InputError if `epochs` includes one that has no checkpoint, or will have none."""
    said = dry_run.promised(run)
    if said:
        last, kept = said.get("epochs", 0), said.get("kept", 0)
        there = range(last - kept + 1 if kept else 1, last + 1)
    else:
        there = checkpoint_files(run / "checkpoints")
    chosen_epochs(run, there, *(epochs or ()))


COMMANDS = {
    "weights": Command(AverageWeightsOptions, average_weights, plan_weights),
    "scores": Command(AverageScoresOptions, average_stores, plan_stores),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("average", __doc__, COMMANDS, argv, former={"checkpoints": "weights"})


if __name__ == "__main__":
    raise SystemExit(main())
