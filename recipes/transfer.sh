#!/usr/bin/env bash
# What a student of 2 s answers is worth elsewhere (PSL, transfer): another set with other classes, learnt from random
# weights, from the annotator's and from the student's. Published, annotator -> PSL-2s: FSD50K mAP 44.41 -> 54.23,
# FSDKaggle2018 mAP@3 87.31 -> 89.21, FSDKaggle2019 curated lwlrap 68.84 -> 71.86, noisy 53.57 -> 54.49.
#
#   bash recipes/transfer.sh                                SCALE=tiny: two simulated sets, a minute on two cores
#   SCALE=full SOURCE=work DATA=FSD50K bash recipes/transfer.sh
#   SCALE=full SOURCE=work DATA=FSDKaggle2018 VOCABULARY=classes.csv bash recipes/transfer.sh
#
# 1. source     psl_2s.sh makes annotator and student (WORK/source), or SOURCE=FOLDER is one that it has made
# 2. corpus     the other set: simulated with classes that the source has not, or DATA
# 3. train      three models of one form on it: all layers but the last start from the run that the row names
# 4. evaluate   mAP, mAP@3 and lwlrap on its evaluation list
#
# FSDKaggle2018 and 2019 come without a file of classes: make VOCABULARY=CSV with class_id,name, and name their lists
# train.csv (2019: train_curated.csv or train_noisy.csv) and eval.csv.
#
#   SCALE       tiny (the default) or full         ROWS        of: scratch annotator student
#   SOURCE      work folder of psl_2s.sh with TEACHER and STUDENT of one form (mobilenetv2)
#   WORK        work-transfer                      SEED, DATA: see common.sh
#   SEEDS       trainings a row (1; at SCALE=full 3)
set -euo pipefail
WORK=${WORK:-work-transfer}
source "$(dirname "$0")/common.sh"

SCALE=${SCALE:-tiny} SOURCE=${SOURCE:-} VOCABULARY=${VOCABULARY:-} SEEDS=${SEEDS:-}
one_of SCALE tiny full
whole SEEDS 1 1000
folder SOURCE
file VOCABULARY
[ -z "$SOUNDS$SOUND_LABELS" ] || refuse "SOUNDS, SOUND_LABELS: both sets are simulated from synthesised sounds, or DATA"
case $SCALE in
tiny) scenes=48 balanced=24 validation=8 evaluation=32 lanes=2
      epochs=3 batch=4 seeds=${SEEDS:-1} rate=2e-3 ;;    # the source has a quarter of the width
full) scenes=20000 balanced=4000 validation=500 evaluation=2000 lanes=1
      epochs=300 batch=32 seeds=${SEEDS:-3} rate=1e-3 ;;  # as PSL trains: stop after 15 epochs without gain
esac
# needs_runs: sets $annotator and $student, which SOURCE has.
needs_runs() {
    local run
    SOURCE=$(as_path "$SOURCE")
    annotator=$SOURCE/runs/teacher student=$SOURCE/runs/psl_2s-seed$SEED
    for run in "$annotator" "$student"; do
        there "$run/model.safetensors" ||
            refuse_value SOURCE "no ${run#"$SOURCE/"}: give a work folder of psl_2s.sh with the row psl_2s"
    done
}

rows=(scratch annotator student)
choose_rows scratch annotator student
[ -z "$SOURCE" ] || needs_runs
[ "$SCALE" = tiny ] || hold_out=yes                     # to stop by, where DATA has no list to validate on
begin RECIPE SCALE SEED SOURCE DATA VOCABULARY ROWS -- SEEDS

if [ -z "$SOURCE" ]; then
    SOURCE=$WORK/source
    recipe psl_2s SCALE="$SCALE" WORK="$SOURCE" SEED="$SEED" DATA= SOUNDS= SOUND_LABELS= LENGTHS= ROWS=psl_2s \
        STUDENT=mobilenetv2 TEACHER=mobilenetv2
    makes source/runs/{teacher,"psl_2s-seed$SEED"}/model.safetensors
    needs_runs
fi

# ---- the other set ----------------------------------------------------------------------------------------------
if [ -z "$DATA" ]; then
    # Seven classes of synthesised sounds; psl_2s.sh has ten others.
    step run.json simulate --scenes "$scenes" --balanced "$balanced" --validation "$validation" --eval "$evaluation" \
        --seed $((SEED + 1000)) --classes Bark Meow Clapping Flute Thunder "Computer keyboard" "Chainsaw"
    makes labels.csv balanced.csv validation.csv eval.csv truth.csv vocabulary.csv
    step clips.h5 prepare
else
    vocabulary=$VOCABULARY
    take_fsd50k
fi

# The options of train that build a network as the annotator's, one a line; also for the one that starts from random weights.
if [ "$mode" = plan ]; then
    network=(--model mobilenetv2)                       # nothing is read in a dry run
else
    form=$("$python" -P "$root/recipes/form.py" "$annotator/config.json")
    mapfile -t network <<<"$form"
fi

train_rows() {
    local row seed start how=(--no-validation)
    [ "$SCALE" = tiny ] || how=(--schedule constant --select best --patience 15)
    there "$WORK/validation.csv" || how=(--no-validation)
    for row in "$@"; do
        start=()
        case $row in annotator) start=(--pretrained "$annotator") ;; student) start=(--pretrained "$student") ;; esac
        for ((seed = SEED; seed < SEED + seeds; seed++)); do
            step "runs/$row-seed$seed/run.json" train --row "$row" "${network[@]}" "${start[@]}" "${how[@]}" \
                --epochs "$epochs" --batch-size "$batch" --learning-rate "$rate" --seed "$seed" --threads "$threads"
        done
    done
}
in_lanes train_rows "${rows[@]}"

# shellcheck disable=SC2119
finish --metrics map map@3 lwlrap
