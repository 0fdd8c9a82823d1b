"""Names of the files, and of the table columns, that several modules share."""

from __future__ import annotations

# A work folder: files that verbs write for each other.
LABELS, BALANCED, VALIDATION, EVALUATION = "labels.csv", "balanced.csv", "validation.csv", "eval.csv"  # label lists
SCENES, GROUPS = "scenes", "clips.csv"  # a simulated corpus: its recordings and their groups
TRUTH = "truth.csv"  # a simulated corpus: its complete labels
LISTS = (LABELS, BALANCED, VALIDATION, EVALUATION, TRUTH)
VOCABULARY = "vocabulary.csv"
CLIPS, SCORES, ENSEMBLE = "clips.h5", "scores.h5", "ensemble.h5"
STORE_ENDINGS = (".h5", ".hdf5")
RUNS, TEACHER = "runs", "teacher"  # folders

# Every output folder.
RUN, MISSING = "run.json", "missing.csv"

# A run: a model and its training data.
WEIGHTS, CONFIG = "model.safetensors", "config.json"
SEEN_CLIPS, CLASSES, HISTORY = "train_clips.csv", "classes.csv", "history.csv"

# An enhancement: LABELS, and why.
LEDGER, LEDGER_CSV, THRESHOLDS = "ledger.parquet", "ledger.csv.gz", "thresholds.csv"
SUMMARY, OUTSIDE = "summary.json", "outside.csv"
TARGETS, MASK, WINDOW_TARGETS = "targets.h5", "mask.csv", "window_targets.h5"

# An evaluation.
EVALUATION_FOLDER = "evaluation"
METRICS_FILE, PER_CLASS, RESULTS, REPORT = "metrics.json", "per_class.csv", "results.md", "report.html"

# Columns of tables.
CLIP_ID, CLASS_ID = "clip_id", "class_id"
LABEL_COLUMNS = (CLIP_ID, "labels")
