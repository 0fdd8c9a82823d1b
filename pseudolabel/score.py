"""Answer every clip with a model: the whole clip and windows of 10, 5 and 2 s, into one score store.

    python -m pseudolabel.score                                     # WORK/runs/teacher on every clip -> WORK/scores.h5
    python -m pseudolabel.score --run runs/a runs/b --list labels.csv --windows clip 2s --out scores.h5
    python -m pseudolabel.score --folds runs/teacher-fold*          # each clip by models that never saw it or its group
    python -m pseudolabel.score --import predictions.npy --ids clips.txt --classes classes.txt
    python -m pseudolabel.score --import windows.h5 --window-s 2 --ids train.csv --classes audioset --name PANNs
    python -m pseudolabel.score --import windows.npy --window-s 2 --hop-s 1 --ids ids.txt --classes audioset
    python -m pseudolabel.score --import clip=a.npy 2s=b.npy --lengths lengths.csv --ids ids.txt --classes audioset
    python -m pseudolabel.score --import predictions.csv            # header clip_id and the classes, a row a clip
    python -m pseudolabel.score --merge a.h5 b.h5 --out scores.h5   # of other clips, or of other scales
    torchrun --nproc-per-node=2 -m pseudolabel.score                # several processes, GPUs or machines, one store
    python -m pseudolabel.score --verify work/scores.h5             # compare a store with its checksums

Several runs are averaged (mean of probabilities); of --folds, those that were not trained on a clip's group. The work
is done in blocks of clips: killed and run again it makes only the missing ones, and the store has the same bytes as
that of an uninterrupted run. --import takes the answers of any other model instead: probabilities (clips, classes), or
(clips, windows, classes) with --window-s. Where clips differ in length, rows of shorter ones are filled up, by 0, NaN
or no probability. Real windows are those that lie wholly in their clip, and of those that its end cuts, the ones up to
the last with a score above 0; none begins where its clip has ended. Lengths are those of --lengths, of --clips, of the
work folder of the answers, of the times in --ids, or --clip-s; where none is known and rows end in windows without a
score above 0, the import is refused.

Clips and runs are those of WORK. Where an option names one of them elsewhere, and --work is not given, the others are
those of that folder, and the store is written there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pseudolabel import cli, dry_run
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import SETTINGS, Blocks, not_parts, only_run, parts_of
from pseudolabel.errors import InputError, first_few
from pseudolabel.models import CONFIG, PRECISIONS, WEIGHTS
from pseudolabel.ownership import readable_object, refuse_input_as_output
from pseudolabel.plan_checks import (
    check_device,
    check_stores,
    check_vocabulary,
    classes_of_runs,
    other_sample_rate,
    sample_rate_of,
)
from pseudolabel.records import Inputs, run_record, sha256
from pseudolabel.score_import import (
    add_import_options,
    files_beside,
    import_answers,
    named_arrays,
    open_import,
    refuse_foreign_store,
    write_beside,
)
from pseudolabel.score_merge import merge_stores
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window, refuse_short_windows, window_name
from pseudolabel.scores.writing import STORED, Layout, stored_types, write_scores
from pseudolabel.temporaries import remove
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.out_of_fold import SEEN_CLIPS, fold_attributes, seen_by, unseen_clips
from pseudolabel.verification import verify_store

BLOCK_SIZE = 256  # clips a block
LENGTHS = ("window_s", "fill", "min_frames", "max_frames")  # of a config: how clips are filled and cut
ONLY_MODELS = ("run", "folds", "list", "precision", "compile")
ONLY_IMPORT = ("ids", "classes", "dataset", "window_s", "hop_s", "lengths", "clip_s", "name", "out_of_fold")
NOT_MERGE = ("imported", "clips", "store", *ONLY_MODELS, *(name for name in ONLY_IMPORT if name != "name"))


def load_taggers(runs: Sequence[Path], sample_rate: int, device) -> list:
    """Return the models of run folders, which must agree on classes and on the store's sample rate."""
    from pseudolabel.models import load_model

    taggers = [load_model(run, device) for run in runs]
    for run, tagger in zip(runs, taggers, strict=True):
        if tagger.config["class_ids"] != taggers[0].config["class_ids"]:
            raise InputError(f"its classes differ from those of {runs[0]}", run, "Score them one by one.")
        if tagger.config["sample_rate"] != sample_rate:
            raise other_sample_rate(run, tagger.config["sample_rate"], sample_rate)
    return taggers


def describe_models(runs: Sequence[Path], taggers: list, clips: ClipStore, rows: np.ndarray) -> dict[str, object]:
    """Return the store's attributes about its models: names, checksums of weights, what they were trained on.

    `out_of_fold` is true where each run says which clips it was trained on and none of the scored ones, nor one of
    their groups, is among them.
    """
    trained_on = [run / SEEN_CLIPS for run in runs]
    seen = [seen_by(run, clips) for run in runs]
    weights = [sha256(run / "model.safetensors") for run in runs]
    return {
        "model": "; ".join(
            f"{tagger.config['name']} {digest}" for tagger, digest in zip(taggers, weights, strict=True)
        ),
        "trained_on_sha256": "; ".join(sha256(path) if path.is_file() else "unknown" for path in trained_on),
        "out_of_fold": all(of_run is not None and not of_run[rows].any() for of_run in seen),
        "front_end": json.dumps([tagger.config["front_end"] for tagger in taggers]),
        "lengths": json.dumps([{key: tagger.config[key] for key in LENGTHS} for tagger in taggers]),
    }


def named_inputs(args: argparse.Namespace) -> list[Path]:
    """Return the inputs that options name, beside which the others lie (`cli.base`)."""
    return [*filter(None, (*(args.folds or args.run or ()), args.clips, args.list))]


def selected_clips(args: argparse.Namespace, clips: ClipStore) -> tuple[Sequence[str], Sequence[str]]:
    """Return the ids to score, as the list has them and in its order, and those of the list that have no audio."""
    if args.list is None:
        return clips.clip_ids, ()
    matched = cli.find_in_store(
        cli.read_clip_ids(args.list, cli.vocabulary_source(args, *named_inputs(args))), clips, args.list, args.strict
    )
    return matched.found, matched.absent


def make_store(args: argparse.Namespace) -> None:
    """Verify a store, import answers or score clips, after refusing options that do not go together."""
    if args.verify:
        print(verify_store(args.verify, cli.default_file(args, args.clips, "clips.h5", args.verify)))
        return
    refuse_contradictions(args)
    if args.merge:
        merge_stores(args, output_of(args))
        return
    out, ranks = output_of(args), Ranks() if args.imported else Ranks.from_environment()
    with ranks.joined(), only_run(out) if ranks.leads else contextlib.nullcontext():
        if args.imported:
            import_answers(args, refuse_foreign_store(out, args.overwrite))
        elif not (ranks.size == 1 and finished_before(out)):
            score(args, refuse_foreign_store(out, args.overwrite), ranks)


def refuse_contradictions(args: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    if args.run and args.folds:
        raise InputError("--run and --folds both name the models", "--folds", "Name them once.")
    refuse_alien(args)
    if args.merge and len(args.merge) < 2:
        raise InputError("one store alone has nothing to be merged with", "--merge", "Name two or more.")


def output_of(args: argparse.Namespace) -> Path:
    """Return the store to write."""
    if args.merge:
        return args.out or cli.home(args, *args.merge) / "scores.h5"
    folder = args.work if args.imported else cli.base(args, *named_inputs(args))
    return args.out or folder / "scores.h5"


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the store, after checking what can be known."""
    if args.verify:
        dry_run.refuse_absent(args.verify)
        return f"would verify {args.verify}"
    refuse_contradictions(args)
    out, said = output_of(args), {}
    if args.merge:
        inputs, what = args.merge, f"{len(args.merge)} stores"
    elif args.imported:
        arrays = named_arrays(args)
        inputs = [*(path for _, path, _ in arrays), args.ids, args.clips, args.lengths]
        said["scales"] = [scale or args.window_s or CLIP for scale, *_ in arrays]
        what = f"the answers in {first_few(dict.fromkeys(path for _, path, _ in arrays))}"
    else:
        runs, clips = chosen_runs(args), args.clips or cli.base(args, *named_inputs(args)) / "clips.h5"
        inputs = [clips, args.list, *(run / name for run in runs for name in (WEIGHTS, CONFIG))]
        said |= {"scales": list(dict.fromkeys(args.windows)), "classes": classes_of_runs(runs, clips)}
        what = f"{first_few(runs)} on {clips}, scales {', '.join(map(window_name, said['scales']))}"
        check_device(args.device, args.threads)
        if args.list:
            check_vocabulary(cli.vocabulary_source(args, *named_inputs(args)))
    dry_run.refuse_output(out, args.overwrite, lambda: refuse_foreign_store(out, args.overwrite))
    refuse_input_as_output(out, inputs)
    if args.imported and not dry_run.of_recipe():
        open_import(args, cli.vocabulary_source(args, *inputs[: len(arrays)], args.ids))
    dry_run.refuse_absent(*inputs)
    check_stores(ScoreStore, *(args.merge or ()))
    if not (args.merge or args.imported) and (sample_rate := sample_rate_of(clips)) is not None:
        refuse_short_windows(args.windows, sample_rate)
    dry_run.promise(out, **said)
    return f"would write {out}: {what}"


def refuse_alien(args: argparse.Namespace) -> None:
    """Raise InputError for an option that says nothing of what is to be done."""
    names, message = ONLY_IMPORT, "goes with --import alone"
    if args.merge:
        names, message = NOT_MERGE, "--merge takes stores as they are"
    elif args.imported:
        names, message = ONLY_MODELS, "--import runs no model"
    alien = [name for name in names if getattr(args, name)]
    if alien:
        raise InputError(message, f"--{alien[0].replace('imported', 'import').replace('_', '-')}", "Omit it.")


def finished_before(out: Path) -> bool:
    """Return whether a run that made this store was killed before it had removed its blocks, and remove them."""
    settings = parts_of(out) / SETTINGS
    if not (out.is_file() and settings.is_file()):
        return False
    record = readable_object(files_beside(out)[0])
    if record.get("settings_sha256") != sha256(settings):
        return False
    store, made = ScoreStore.open(out).attributes, json.loads(settings.read_text(encoding="utf-8"))
    if record.get("tables_crc32") != store.get("tables_crc32"):
        return False
    if any(str(store[name]) != str(value) for name, value in made.items() if name in store):
        return False  # an older store of the same scores
    remove(parts_of(out), not_parts)
    print(f"{out} was finished by an earlier run; its blocks are removed")
    return True


def score(args: argparse.Namespace, out: Path, ranks: Ranks) -> None:
    """Make the score store of the models' answers, together with the other processes of the run."""
    runs, inputs = chosen_runs(args), Inputs()
    path = args.clips or cli.base(args, *named_inputs(args)) / "clips.h5"
    if not path.is_file():
        raise InputError("no such file", path, "Give --clips.")
    clips = ClipStore.open(path)
    refuse_short_windows(args.windows, clips.sample_rate)
    if ranks.leads:
        for read in (path, args.list, *(run / name for run in runs for name in ("model.safetensors", SEEN_CLIPS))):
            inputs.read(read)
        refuse_input_as_output(out, [*inputs.sha256, *runs])
    device = cli.choose_device(ranks.device_name(args.device), args.threads)
    clip_ids, missing = selected_clips(args, clips)
    rows = clips.rows(clip_ids)
    taggers = load_taggers(runs, clips.sample_rate, device)
    unseen = unseen_clips(runs, clips, rows) if args.folds else None
    windows = list(dict.fromkeys(args.windows))
    from pseudolabel.models.precision import precision_on

    own = [precision_on(device, args.precision or tagger.config["precision"]) for tagger in taggers]
    types = stored_types(map(window_name, windows), args.store)
    made_by = {
        **describe_models(runs, taggers, clips, rows), **({} if unseen is None else fold_attributes(unseen)),
        "threads": args.threads, "batch_size": args.batch_size, "precision": "; ".join(dict.fromkeys(own)),
        "compiled": args.compile,
    }  # fmt: skip
    settings = {
        **made_by, "windows": [window_name(window) for window in windows], "device": device.type,
        "clips": hashlib.sha256("\n".join(clip_ids).encode()).hexdigest(),
        "clip_store": clips.content(), "blocks": "with checksums",
        "store": args.store or "float32 of whole clips",
    }  # fmt: skip
    blocks, unfinished = share_blocks(out, len(rows), settings, args.overwrite, ranks)

    from pseudolabel.training.score_blocks import score_blocks
    from pseudolabel.training.scoring import Scorer, ready_to_score

    ready_to_score(taggers, device, args.compile)
    scorer = Scorer(taggers, device, args.batch_size, args.precision)
    work = score_blocks(blocks, unfinished[ranks.rank :: ranks.size], scorer, clips, rows, windows, unseen, types)
    work = work.of_all(ranks)
    if ranks.leads:
        class_ids = taggers[0].config["class_ids"]
        write_store(args, out, blocks, clips, clip_ids, missing, class_ids, made_by, work, inputs)


def chosen_runs(args: argparse.Namespace) -> list[Path]:
    """Return the run folders whose models answer."""
    return args.folds or args.run or [cli.base(args, *named_inputs(args)) / "runs" / "teacher"]


def share_blocks(out: Path, n_clips: int, settings: dict, restart: bool, ranks: Ranks) -> tuple[Blocks, list[int]]:
    """Return the blocks, which the leader claims before the others join, and the numbers of the unfinished ones."""
    blocks = Blocks(out, n_clips, BLOCK_SIZE, settings, restart) if ranks.leads else None
    unfinished = np.zeros(-(-n_clips // BLOCK_SIZE), np.int64)
    if blocks is not None:
        unfinished[blocks.unfinished()] = 1
    unfinished = ranks.from_leader(unfinished)
    if blocks is None:
        blocks = Blocks(out, n_clips, BLOCK_SIZE, settings, join=True)
    return blocks, np.flatnonzero(unfinished).tolist()


def write_store(args, out: Path, blocks: Blocks, clips: ClipStore, clip_ids: Sequence[str], missing: Sequence[str],
                class_ids: list[str], made_by: dict, work, inputs: Inputs) -> None:  # fmt: skip
    """Join the blocks to the store, and say what was done."""
    from pseudolabel.training.score_blocks import count_windows, merge

    windows, n_samples = list(dict.fromkeys(args.windows)), clips.n_samples[clips.rows(clip_ids)]
    blocks.await_all()
    counts = count_windows(windows, n_samples, clips.sample_rate)
    layout = Layout.of_windows(clip_ids, class_ids, counts, types=stored_types(counts, args.store))
    record = {
        **run_record("score", vars(args), inputs), "settings_sha256": sha256(blocks.folder / SETTINGS),
        "clips_under_another_id": len(clips.aliases),
        "clips_made": work.clips, "seconds": round(work.seconds, 2), "processes": work.processes,
        "waiting_share": round(work.waiting_share, 4),
    }  # fmt: skip
    attributes = {**made_by, "vocabulary": Path(cli.vocabulary_source(args, *named_inputs(args))).name}

    def beside(crc32: int) -> None:
        rows = [(clip_id, "no audio") for clip_id in missing]
        write_beside(out, {**record, "tables_crc32": crc32}, ("clip_id", "reason"), rows)

    write_scores(out, layout, merge(blocks, layout.shapes), attributes, args.overwrite, beside)
    blocks.remove()
    shortest = min((w for w in windows if w != CLIP), default=0)
    n_short = int((n_samples < shortest * clips.sample_rate).sum())
    notes = [f"{n_short} clips are shorter than {shortest:g} s and are one window each"] if n_short else []
    if work.clips:
        rate, waited = work.clips / work.seconds, 100 * work.waiting_share
        notes.append(f"{rate:.3g} clips a second, the device waited {waited:.1f} % of the time")
    print(f"wrote {out}: {len(clip_ids)} clips x {len(class_ids)} classes at {', '.join(layout.shapes)}; "
          + "; ".join([f"{len(missing)} listed clips have no audio", *notes]))  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    parser = cli.verb_parser("score", __doc__)
    parser.add_argument("--run", type=Path, nargs="+", help="run folders, averaged (default: WORK/runs/teacher)")
    parser.add_argument("--folds", type=Path, nargs="+", metavar="RUN", help="run folders of a cross-validated teacher "
                        "(train --fold): each clip is scored by those that saw neither it nor its group")  # fmt: skip
    parser.add_argument("--clips", type=Path, help="clip store (default: WORK/clips.h5)")
    parser.add_argument("--list", type=Path, help="label list: only its clips, in its order (default: every clip)")
    parser.add_argument("--windows", type=parse_window, nargs="+", default=[CLIP, 10, 5, 2],
                        help="scales: clip, 10s, 5s, 2s, any length (default: clip 10s 5s 2s)")  # fmt: skip
    parser.add_argument("--vocabulary", help="to read --list with, or names of classes (default: "
                        "WORK/vocabulary.csv, else audioset)")  # fmt: skip
    parser.add_argument("--batch-size", type=cli.positive_int, default=32, help="clips of 10 s a batch; of windows "
                        "and shorter clips, as many as are as much audio (default: 32)")  # fmt: skip
    parser.add_argument("--precision", choices=PRECISIONS, help="of the networks (default: the model's own, float32 of "
                        "published weights; else bf16 on a GPU, where scores of small trained networks moved by up to "
                        "0.04, on average by 0.004 or less, and those of untrained ones by 0.2)")  # fmt: skip
    parser.add_argument("--store", choices=STORED, help="type of all stored scores (default: float32 of whole clips, "
                        "which labels are decided by, float16 of windows)")  # fmt: skip
    parser.add_argument("--compile", action="store_true", help="compile the networks: pays on a GPU in long runs")
    parser.add_argument("--out", type=Path, help="score store (default: WORK/scores.h5)")
    cli.add_device_options(parser)
    parser.add_argument("--verify", type=Path, metavar="FILE", help="read a store of scores or clips, compare it with "
                        "its checksums, and do nothing else")  # fmt: skip
    parser.add_argument("--merge", type=Path, nargs="+", metavar="STORE", help="make one store of several of one "
                        "model: of other clips, of other scales")  # fmt: skip
    add_import_options(parser)
    return cli.run_verb(parser, make_store, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
