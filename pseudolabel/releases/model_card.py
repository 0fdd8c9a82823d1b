"""README.md of a released model: a model card, with the YAML header that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pseudolabel.models.lengths import lengths_in_words
from pseudolabel.releases.licences import licence_of
from pseudolabel.releases.texts import code, count_of, folded, markdown, markdown_table, yaml_text

FEW_CLASSES = 30  # more are folded
OURS = """\
import soundfile, torch
from pseudolabel.models import load_model

model = load_model(".")                                        # this folder
samples, rate = soundfile.read("clip.wav", dtype="float32")    # mono, {sample_rate} Hz
scores = model(torch.from_numpy(samples)[None])[0]             # (classes,) in [0, 1]
print(sorted(zip(scores.tolist(), model.config["class_names"]), reverse=True)[:5])"""
ONNX = """\
import csv, onnxruntime, soundfile

session = onnxruntime.InferenceSession("model.onnx")
samples, rate = soundfile.read("clip.wav", dtype="float32")    # mono, {sample_rate} Hz
(scores,) = session.run(None, {{"waveforms": samples[None]}})    # (1, classes) in [0, 1]
names = [row["name"] for row in csv.DictReader(open("classes.csv", encoding="utf-8"))]
print(sorted(zip(scores[0].tolist(), names), reverse=True)[:5])"""
TRAINING = {  # options of `train` that a reader asks for first, in words
    "epochs": "epochs", "batch_size": "clips or pieces a step", "optimizer": "optimiser",
    "learning_rate": "learning rate", "schedule": "schedule", "sampling": "sampling", "mixup_rate": "mixup rate",
    "alpha": "share of the soft targets in the loss", "window": "window of the targets", "select": "weights kept",
}  # fmt: skip


def model_card(record: Mapping) -> str:
    """Return the text of README.md; every figure comes from the record (run.json)."""
    sections = [
        f"---\n{_header(record)}---",
        f"# {markdown(record['title'])}",
        _introduction(record),
        "## Load",
        *_loading(record),
        "## Trained on",
        *_training(record),
        "## Figures",
        _figures(record),
        "## Known limits",
        _limits(record),
        "## Files",
        _files(record),
        "`SHA256SUMS` has the checksums of all files but itself: `sha256sum --check SHA256SUMS`, or "
        "`python -m pseudolabel.release verify .`, which also builds the model from them.",
        "## Classes",
        _classes(record),
        "## Licence",
        f"The weights are under {licence_of(record['licence']).name} ({record['licence']}): see `LICENSE`.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _header(record: Mapping) -> str:
    return yaml_text({
        "license": licence_of(record["licence"]).hub_id,
        "library_name": "pseudolabel",
        "pipeline_tag": "audio-classification",
        "tags": ["audio", "audio-tagging", "pseudo-labels", record["network"]],
        "metrics": ["mean_average_precision"] if record["validation"] else None,
    })  # fmt: skip


def _introduction(record: Mapping) -> str:
    window = f"windows of {record['window_s']:g} s" if record["window_s"] else "whole clips"
    return (
        f"{markdown(record['network'])} with {record['n_parameters']:,} parameters answers for a waveform at "
        f"{record['sample_rate']:,} Hz which of {count_of(record['n_classes'], 'class')} are heard, each with a score "
        f"in [0, 1]. Trained on {window}. {lengths_in_words(record)}"
    )


def _loading(record: Mapping) -> Iterator[str]:
    yield f"```python\n{OURS.format(**record)}\n```"
    named = {file["name"] for file in record["onnx"]}
    if "model.onnx" in named:
        yield "Without PyTorch:"
        yield f"```python\n{ONNX.format(**record)}\n```"
    for file in record["onnx"]:
        shape = " x ".join(str(size) for size in file["shape"])
        differs = file["difference"]
        compared = "not compared" if differs is None else f"at most {differs:.1e} from PyTorch's on noise"
        yield f"`{file['name']}` takes `{file['input']}` ({shape}), float32; its scores: {compared}."
    if named == {"network.onnx"}:
        front_end = ", ".join(f"{name} {value}" for name, value in record["front_end"].items() if value is not None)
        yield f"Its features are the front end's: {markdown(front_end)}; what is missing is {record['fill']:g}."


def _training(record: Mapping) -> Iterator[str]:
    soft = "soft targets, the answers of a teacher" if record["soft_targets"] else "hard labels"
    yield (
        f"{count_of(record['n_train_clips'], 'clip')} with {soft}; `train_clips.csv` names them, so that nobody scores "
        "with this model, as if it were new to it, what it has heard."
    )
    rows = [
        (text, code(str(record["training"][name]))) for name, text in TRAINING.items() if name in record["training"]
    ]
    yield markdown_table(("", ""), rows)
    rows = [(code(file["name"]), code(file["sha256"])) for file in record["inputs"]]
    if rows:
        yield markdown_table(("made from", "sha256"), rows)


def _figures(record: Mapping) -> str:
    if not record["validation"]:
        return "Training measured nothing on held-out clips. Evaluate before use: `python -m pseudolabel.evaluate`."
    rows = [(markdown(name), f"{value:.4f}") for name, value in record["validation"].items()]
    return "On held-out clips, during training:\n\n" + markdown_table(("figure", "value"), rows, [1])


def _limits(record: Mapping) -> str:
    limits = [
        "Scores are no calibrated probabilities: choose thresholds class by class on data of your own.",
        "It knows only what its training labels say; what these lack or have wrong, it may have learned.",
    ]
    if record["soft_targets"]:
        limits.append("Its targets are a teacher's answers: the teacher's errors are among them.")
    if record["fold"]:
        limits.append(f"It is one of a cross-validation (fold {record['fold']}) and has not heard all training clips.")
    return "\n".join(f"- {limit}" for limit in limits)


def _files(record: Mapping) -> str:
    rows = [(code(file["name"]), f"{file['bytes']:,}") for file in record["files"]]
    rows += [(code(name), "") for name in ("README.md", "LICENSE", "run.json", "SHA256SUMS")]
    return markdown_table(("file", "bytes"), rows, [1])


def _classes(record: Mapping) -> str:
    rows = [(code(row["class_id"]), markdown(row["name"])) for row in record["classes"]]
    table = markdown_table(("id", "name"), rows)
    return table if len(rows) <= FEW_CLASSES else folded(f"all {len(rows)} classes", table)
