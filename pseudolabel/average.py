"""Make one of several: one model of the weights of checkpoints or runs, one score store of the scores of several.

    python -m pseudolabel.average --checkpoints work/runs/teacher --epochs 16-30   # train with --keep-checkpoints all
    python -m pseudolabel.average work/runs/a work/runs/b --out work/runs/ab
    python -m pseudolabel.average --scores a.h5 b.h5 --weights 1 2 --out ab.h5

Weights are averaged in float64, and the statistics of batch-norm layers are estimated anew on the training clips: the
means of statistics are not the statistics of the mean. Runs must have started from the same weights; of models that
did not, average the scores. Scores are matched by clip id and class id, whatever their order; their mean is one of
probabilities, in float64, stored as `score` does, or as float32 where one store has it so. A clip or class that one
store lacks is an error; --common leaves it out and lists it in NAME.missing.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pseudolabel import cli, dry_run
from pseudolabel.artefacts import whole_folder, write_csv
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError, first_few
from pseudolabel.models import CONFIG, WEIGHTS
from pseudolabel.ownership import read_run, refuse_foreign, refuse_input_as_output
from pseudolabel.plan_checks import check_device
from pseudolabel.records import Inputs, run_record, sha256, write_run_record
from pseudolabel.score_import import refuse_foreign_store, write_beside
from pseudolabel.scores.ensemble import Matching, average_scores
from pseudolabel.scores.store import ScoreStore
from pseudolabel.training.out_of_fold import SEEN_CLIPS, read_seen
from pseudolabel.training.run_folder import checkpoint_files, chosen_epochs


def parse_epochs(text: str) -> tuple[int, int]:
    """Return the first and the last epoch of `16-30`, or of `16` alone."""
    first, dash, last = text.partition("-")
    if not all(part.isascii() and part.isdigit() for part in (first, last if dash else first)):
        raise argparse.ArgumentTypeError(f"must be like 16-30, not {text!r}")
    epochs = int(first), int(last or first)
    if not 1 <= epochs[0] <= epochs[1]:
        raise argparse.ArgumentTypeError(f"must be a range from 1 on, not {text!r}")
    return epochs


# ---- score stores -----------------------------------------------------------------------------------------------


def ensemble_store(args: argparse.Namespace) -> Path:
    """Return the store to write."""
    return args.out or cli.home(args, *args.scores) / "ensemble.h5"


def ensemble(args: argparse.Namespace) -> None:
    """Make the store of the mean scores."""
    out = ensemble_store(args)
    refuse_input_as_output(out, args.scores)
    with only_run(out):
        refuse_foreign_store(out, args.overwrite)
        _ensemble(args, out)


def _ensemble(args: argparse.Namespace, out: Path) -> None:
    inputs = Inputs()
    stores = [ScoreStore.open(inputs.read(path)) for path in args.scores]
    record = run_record("average", vars(args), inputs)
    digests = {"averaged_sha256": "; ".join(record["inputs"][str(path)] for path in args.scores)}

    def beside(crc32: int, matching: Matching) -> None:
        write_beside(out, {**record, "tables_crc32": crc32}, ("kind", "id", "missing_in"), matching.left_out)

    matching = average_scores(stores, out, args.weights, args.common, digests, args.overwrite, beside)
    dropped = [name for kind, name, _ in matching.left_out if kind == "scale"]
    note = f"; scales that not all have: {', '.join(dict.fromkeys(dropped))}" if dropped else ""
    left = {kind: {name for found, name, _ in matching.left_out if found == kind} for kind in ("clip", "class")}
    if left["clip"] or left["class"]:
        note += (f"; left out, as not every store has them: {len(left['clip'])} clips, {len(left['class'])} classes: "
                 f"{first_few(sorted(left['clip'] | left['class']))}")  # fmt: skip
    print(f"wrote {out}: mean of {len(stores)} stores, {len(matching)} clips x {len(matching.class_ids)} classes "
          f"at {', '.join(matching.scales)}{note}")  # fmt: skip


# ---- models -----------------------------------------------------------------------------------------------------


def averaged_tagger(args: argparse.Namespace, device):
    """Return the model of the mean weights, its statistics not estimated yet, and what was averaged, in words."""
    from pseudolabel.models import load_model
    from pseudolabel.models.files import read_config
    from pseudolabel.models.tagger import build_tagger
    from pseudolabel.training.averaging import checkpoint_states, mean_state

    if args.checkpoints:
        config, epochs, states = checkpoint_states(args.checkpoints, *(args.epochs or (None, None)))
        check_weights(args.weights, len(epochs))
        tagger = build_tagger(config)
        tagger.load_state_dict(mean_state(states(), args.weights))
        what = f"{len(epochs)} checkpoints of {args.checkpoints.name} (epochs {epochs[0]} to {epochs[-1]})"
        return tagger.to(device).eval(), what
    check_weights(args.weights, len(args.runs))
    configs = [read_config(run / "config.json") for run in args.runs]
    for run, config in zip(args.runs, configs, strict=True):
        other = [key for key in {**configs[0], **config} if config.get(key) != configs[0].get(key)]
        if other:
            raise InputError(f"its config differs from that of {args.runs[0]} in {', '.join(sorted(other))}", run,
                             "Average their scores: --scores.")  # fmt: skip
    tagger = load_model(args.runs[0])
    tagger.load_state_dict(mean_state((load_model(run).state_dict() for run in args.runs), args.weights))
    return tagger.to(device).eval(), f"{len(args.runs)} runs"


def check_weights(weights: Sequence[float] | None, n: int) -> None:
    """Raise InputError where weights are not as many as what they weigh, or all 0."""
    if weights and (len(weights) != n or sum(weights) == 0):
        raise InputError(f"{weights} are no weights of {n} models", "--weights", "Give one each, not all 0.")


def trained_clips(runs: Sequence[Path]) -> list[str] | None:
    """Return the clips that any of the runs was trained on; None where a run does not say."""
    paths = [run / SEEN_CLIPS for run in runs]
    if not all(path.is_file() for path in paths):
        return None
    return list(dict.fromkeys(clip_id for path in paths for clip_id in read_seen(path)))


def estimate_statistics(
    args: argparse.Namespace, runs: Sequence[Path], tagger, trained_on: list[str] | None, device, inputs: Inputs
) -> list[str]:
    """Estimate batch-norm statistics on clips of --list, or on those trained on; return the clips."""
    from pseudolabel.training.averaging import estimate_batch_norm, read_pieces, statistics_pieces

    if args.list is None and trained_on is None:
        raise InputError(f"no {SEEN_CLIPS}: on which clips shall statistics be estimated?", "--list",
                         "Give a label list, or --statistics mean.")  # fmt: skip
    named = (*runs, args.list)
    listed = cli.read_clip_ids(args.list, cli.vocabulary_source(args, *named)) if args.list else trained_on
    path = args.clips or cli.base(args, *named) / "clips.h5"
    if not path.is_file():
        raise InputError("no such file", path, "Give the --clips to estimate statistics on, or --statistics mean.")
    clips = ClipStore.open(inputs.read(path))
    if clips.sample_rate != tagger.sample_rate:
        message = f"the model hears {tagger.sample_rate} Hz, the clips have {clips.sample_rate} Hz"
        raise InputError(message, clips.path, "Give the --clips that it was trained on.")
    found = list(cli.find_in_store(listed, clips, args.list or Path(SEEN_CLIPS), args.strict).found)
    rows = clips.rows(found)
    window_s = tagger.config["window_s"]
    length = round(window_s * tagger.sample_rate) if window_s else int(clips.n_samples[rows].max())
    batches = statistics_pieces(clips, rows, length, args.pieces, args.batch_size, args.seed)
    n_batches = estimate_batch_norm(tagger, read_pieces(clips, batches, length), device, args.seed)
    print(f"batch-norm statistics of {n_batches} batches of {len(batches[0][0])} pieces")
    return found


def claimed_folder(args: argparse.Namespace, runs: Sequence[Path]) -> Path:
    """Return the folder to write: --out, else beside the run a name that says which epochs, else runs/averaged.

    That is in WORK, or in the work folder of the runs, where these are of another one.
    """
    out = args.out or cli.home(args, *runs) / "runs" / "averaged"
    if args.checkpoints and not args.out:
        epochs = "-epochs{}-{}".format(*args.epochs) if args.epochs else "-averaged"
        out = args.checkpoints.with_name(args.checkpoints.name + epochs)
    refuse_input_as_output(out, [*runs, args.list, args.clips])
    return out


def average_weights(args: argparse.Namespace) -> None:
    """Make the folder of the averaged model."""
    runs = [args.checkpoints] if args.checkpoints else args.runs
    out = claimed_folder(args, runs)
    with only_run(out):
        refuse_foreign(out, args.overwrite, "average")
        _average_weights(args, runs, out)


def _average_weights(args: argparse.Namespace, runs: Sequence[Path], out: Path) -> None:
    device, inputs = cli.choose_device(args.device, args.threads), Inputs()
    from pseudolabel.models import save_model
    from pseudolabel.training.averaging import has_batch_norm

    for path in (args.list, *(run / name for run in runs for name in ("model.safetensors", SEEN_CLIPS))):
        inputs.read(path)
    tagger, what = averaged_tagger(args, device)
    seen, estimated = trained_clips(runs), []
    if has_batch_norm(tagger) and args.statistics == "estimate":
        estimated = estimate_statistics(args, runs, tagger, seen, device, inputs)
    earlier = read_run(args.checkpoints) if args.checkpoints else {}
    record = {
        "row": args.row or (f"{earlier['row']}-averaged" if earlier.get("row") else out.name),
        **({"epoch": args.epochs[0]} if args.epochs and args.epochs[0] == args.epochs[1] else {}),
        "n_parameters": sum(parameter.numel() for parameter in tagger.parameters()),
        "n_train_clips": None if seen is None else len(seen),
        "averaged": what,
    }
    with whole_folder(out, args.overwrite, "average") as folder:
        save_model(folder, tagger)
        digest = sha256(folder / "model.safetensors")
        if seen is not None:  # clips of --list were seen too
            write_csv(folder / SEEN_CLIPS, ("clip_id",), [(clip,) for clip in dict.fromkeys([*seen, *estimated])])
        run = run_record("average", vars(args), inputs, earlier.get("seed"))  # runs of one row differ in it
        write_run_record(folder, {**record, "sha256": digest, **run})
    print(f"wrote {out}: mean weights of {what}, sha256 {digest}")


# ---- the command ------------------------------------------------------------------------------------------------


def refuse_contradictions(args: argparse.Namespace) -> None:
    """Raise InputError unless one kind of thing is named, two or more of it, with options that are of that kind."""
    given = [name for name in ("runs", "checkpoints", "scores") if getattr(args, name)]
    if len(given) != 1:
        named = " and ".join(given) or "nothing"
        raise InputError(f"{named} to average", "", "Give run folders, or --checkpoints RUN, or --scores A.h5 B.h5.")
    kinds = {"epochs": ("checkpoints",), "common": ("scores",), "row": ("checkpoints", "runs")}
    alien = [name for name, of in kinds.items() if getattr(args, name) and given[0] not in of]
    if alien:
        raise InputError(f"says nothing of {given[0]}", f"--{alien[0]}", "Omit it.")
    if given != ["checkpoints"] and len(getattr(args, given[0])) < 2:
        raise InputError("one alone has no mean", given[0], "Name two or more.")


def average(args: argparse.Namespace) -> None:
    """Average what was named: runs, checkpoints or score stores, and nothing beside it."""
    refuse_contradictions(args)
    ensemble(args) if args.scores else average_weights(args)


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the output, after checking what can be known."""
    refuse_contradictions(args)
    if args.scores:
        out = ensemble_store(args)
        dry_run.refuse_absent(*args.scores)
        refuse_input_as_output(out, args.scores)
        check_weights(args.weights, len(args.scores))
        dry_run.refuse_output(out, args.overwrite, lambda: refuse_foreign_store(out, args.overwrite))
        dry_run.promise(out)
        return f"would write {out}: mean of {len(args.scores)} stores"
    runs = [args.checkpoints] if args.checkpoints else args.runs
    out, what = claimed_folder(args, runs), f"{len(runs)} runs"
    dry_run.refuse_absent(*(run / name for run in runs for name in (WEIGHTS, CONFIG)), args.list)
    if args.checkpoints:
        what = f"checkpoints of {args.checkpoints}"
        refuse_epochs(args)
    elif args.weights:
        check_weights(args.weights, len(runs))
    clips = args.clips or cli.base(args, *runs, args.list) / "clips.h5"
    if args.clips or (args.statistics == "estimate" and args.list):
        dry_run.refuse_absent(clips)
    check_device(args.device, args.threads)
    dry_run.refuse_folder(out, args.overwrite, "average")
    dry_run.promise(out, WEIGHTS, CONFIG, "run.json", SEEN_CLIPS)
    return f"would write {out}: mean weights of {what}"


def refuse_epochs(args: argparse.Namespace) -> None:
    """Raise InputError where --epochs names some of which no checkpoint is there, or will be kept."""
    said = dry_run.promised(args.checkpoints)
    if said:
        last, kept = said.get("epochs", 0), said.get("kept", 0)
        there = range(last - kept + 1 if kept else 1, last + 1)
    else:
        there = checkpoint_files(args.checkpoints / "checkpoints")
    chosen_epochs(args.checkpoints, there, *(args.epochs or ()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    parser = cli.verb_parser("average", __doc__)
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="run folders whose weights are averaged")
    parser.add_argument("--checkpoints", type=Path, metavar="RUN", help="run folder whose checkpoints are averaged")
    parser.add_argument("--epochs", type=parse_epochs, metavar="A-B", help="of --checkpoints (default: all there)")
    parser.add_argument("--row", metavar="NAME", help="of the model in tables, where models of one row that differ in "
                        "their seed or their epoch are one line (default: ROW-averaged)")  # fmt: skip
    parser.add_argument("--scores", type=Path, nargs="+", metavar="STORE", help="score stores that are averaged")
    parser.add_argument("--common", action="store_true", help="only the clips and classes that every store has")
    parser.add_argument("--weights", type=cli.non_negative, nargs="+", metavar="W", help="one each (default: alike)")
    parser.add_argument("--out", type=Path, help="model folder (default: RUN-epochsA-B, WORK/runs/averaged) or store "
                        "(default: WORK/ensemble.h5); WORK is that of what is averaged")  # fmt: skip
    norm = parser.add_argument_group("batch-norm statistics of averaged weights")
    norm.add_argument("--statistics", choices=("estimate", "mean"), default="estimate",
                      help="estimate: on clips; mean: of the averaged models' own (default: estimate)")  # fmt: skip
    norm.add_argument("--clips", type=Path, help="clip store (default: WORK/clips.h5)")
    norm.add_argument("--list", type=Path, help="label list: on its clips (default: the clips trained on)")
    norm.add_argument("--vocabulary", help="to read --list with (default: WORK/vocabulary.csv, else audioset)")
    norm.add_argument("--pieces", type=cli.positive_int, default=10_000, help="at most so many (default: 10000)")
    norm.add_argument("--batch-size", type=cli.positive_int, default=32, help="pieces a batch (default: 32)")
    norm.add_argument("--seed", type=cli.non_negative_int, default=0, help="which pieces, in which batches")
    cli.add_device_options(norm)
    return cli.run_verb(parser, average, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
