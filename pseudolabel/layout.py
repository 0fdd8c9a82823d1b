"""The name of every file that several modules use, and of the columns of their tables: once."""

from __future__ import annotations

# A work folder: what the verbs make for each other.
LABELS, BALANCED, VALIDATION, EVALUATION = "labels.csv", "balanced.csv", "validation.csv", "eval.csv"  # label lists
SCENES, GROUPS = "scenes", "clips.csv"  # recordings of a simulated corpus, and their groups
TRUTH = "truth.csv"  # of a simulated corpus: what its label lists say where nothing is missing
VOCABULARY, ONTOLOGY = "vocabulary.csv", "ontology.csv"
CLIPS, SCORES, ENSEMBLE = "clips.h5", "scores.h5", "ensemble.h5"
RUNS, TEACHER = "runs", "teacher"  # folders

# Every output folder.
RUN, MISSING = "run.json", "missing.csv"

# A run: a model and what it was trained on.
WEIGHTS, CONFIG = "model.safetensors", "config.json"
SEEN_CLIPS, CLASSES, HISTORY = "train_clips.csv", "classes.csv", "history.csv"

# An enhancement: LABELS, and why.
LEDGER, LEDGER_CSV, THRESHOLDS = "ledger.parquet", "ledger.csv.gz", "thresholds.csv"
SUMMARY, OUTSIDE = "summary.json", "outside.csv"
TARGETS, MASK = "targets.h5", "mask.csv"

# An evaluation.
METRICS, PER_CLASS, RESULTS, REPORT = "metrics.json", "per_class.csv", "results.md", "report.html"

# Columns of tables.
CLIP_ID, CLASS_ID = "clip_id", "class_id"
LABEL_COLUMNS = (CLIP_ID, "labels")
