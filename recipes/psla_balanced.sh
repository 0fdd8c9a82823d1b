#!/usr/bin/env bash
# PSLA on the balanced AudioSet: labels enhanced at the mean threshold, no balanced sampling. Published: one model with
# averaged weights mAP .3192, its checkpoints' mean answer .3280 (without PSLA: .1570).
#
#   bash recipes/psla_balanced.sh                                SCALE=tiny: simulated scenes, a minute on two cores
#   SCALE=full DATA=audioset bash recipes/psla_balanced.sh       their settings: for a GPU
#
# 1. corpus     simulated, or DATA's lists and audio in one file
# 2. teacher    PSLA on the full list with its labels as they are, as psla_full.sh; TEACHER_RUN=FOLDER takes one that is
#               there (psla_full.sh's, or published_teacher.sh's). It has heard the clips that it relabels: in-sample,
#               as in the paper.
# 3. enhance    the balanced list's missing labels, types I and II, as the published code (--profile psla)
# 4. train      60 epochs; the rate 1e-3 is halved every 5 epochs after the 35th
# 5. average    the weights of epochs 41 to 60; and, with ENSEMBLE=1, the answers of all epochs
# 6. evaluate   everything on clips that nobody was trained on; psla-last5: mean and spread of the last five epochs, which
#               is what PSLA reports of a single model
#
#   SCALE       tiny (the default) or full         ROWS        of: psla no_pretrain no_mask no_mixup no_enhanced
#   ENSEMBLE    1: also the checkpoints' mean answer (at SCALE=full)
#   WORK        work-psla-balanced                 SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
#   MODEL, PRETRAINED: see psla.sh                 SEEDS       trainings a row (1; the paper: 3)
set -euo pipefail
WORK=${WORK:-work-psla-balanced}
source "$(dirname "$0")/psla.sh"

psla_settings
annotator=runs/teacher
whole SEEDS 1 1000
one_of ENSEMBLE 0 1
rows=(psla no_enhanced) full=() SEEDS=${SEEDS:-} ENSEMBLE=${ENSEMBLE:-}
if [ "$SCALE" = full ]; then                            # the teacher's settings are those of the full set
    ENSEMBLE=${ENSEMBLE:-1} batch=100 epochs=60 halve_after=35 averaged=41-60
    full=(--epochs 30 --halve-after 10 --learning-rate 1e-4) network+=(--learning-rate 1e-3)
fi
choose_rows psla no_pretrain no_mask no_mixup no_enhanced
begin RECIPE SCALE SEED MODEL PRETRAINED TEACHER_RUN DATA SOUNDS SOUND_LABELS ROWS -- SEEDS ENSEMBLE
make_corpus

psla_teacher "$balanced_list" --labels "$WORK/labels.csv" --sampling sum-rule "${full[@]}"
step enhanced-psla-mean enhance --labels "$balanced_list" --threshold mean --profile psla

train_rows() {
    local row seed labels
    for row in "$@"; do
        labels=$WORK/enhanced-psla-mean/labels.csv
        [ "$row" != no_enhanced ] || labels=$balanced_list
        for ((seed = SEED; seed < SEED + ${SEEDS:-1}; seed++)); do
            psla_train "$row" "$seed" --labels "$labels" --sampling shuffle
            psla_average "$row" "$seed"
            psla_last "$row" "$seed"
        done
        [ "$ENSEMBLE" != 1 ] || psla_ensemble "$row" "$SEED"
    done
}
in_lanes train_rows "${rows[@]}"

all_models "${SEEDS:-1}" && runs=("${found[@]}")
all committees .h5
finish --train-labels "$balanced_list" --runs "${runs[@]}" ${found:+--scores "${found[@]}"}
