#!/usr/bin/env bash
# PSLA on the full AudioSet: balanced sampling by the sum rule, original labels. Published: one model with averaged
# weights mAP .4435, its checkpoints' mean answer .4518 (without PSLA: .3723).
#
#   bash recipes/psla_full.sh                               SCALE=tiny: simulated scenes, half a minute on two cores
#   SCALE=full DATA=audioset bash recipes/psla_full.sh      their settings: for a GPU
#
# 1. corpus     simulated, or DATA's lists and audio in one file
# 2. train      30 epochs; the rate 1e-4 is halved every 5 epochs after the 10th; each epoch's weights are kept
# 3. average    the weights of epochs 16 to 30, batch-norm statistics estimated anew; and the answers of all epochs
# 4. evaluate   the last epoch, the mean weights, the mean answers; psla-last5: mean and spread of the last five epochs,
#               which is what PSLA reports of a single model
#
# Run it again and finished steps are skipped; killed, it goes on where it was.
#
#   SCALE       tiny (the default) or full         ROWS        of: psla no_pretrain no_sampling no_mask no_mixup (psla)
#   WORK        work-psla-full                     SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
#   MODEL, PRETRAINED: see psla.sh
set -euo pipefail
WORK=${WORK:-work-psla-full}
source "$(dirname "$0")/psla.sh"

psla_settings
[ "$SCALE" = tiny ] || batch=100 epochs=30 halve_after=10 averaged=16-30 network+=(--learning-rate 1e-4)
rows=(psla)
choose_rows psla no_pretrain no_sampling no_mask no_mixup
begin RECIPE SCALE SEED MODEL PRETRAINED DATA SOUNDS SOUND_LABELS ROWS
make_corpus

train_rows() {
    local row sampling
    for row in "$@"; do
        sampling=sum-rule                               # Algorithm 1: N draws with replacement, w = sum of 1 / c_k
        [ "$row" != no_sampling ] || sampling=shuffle
        psla_train "$row" "$SEED" --labels "$WORK/labels.csv" --sampling "$sampling"
        psla_average "$row" "$SEED"
        psla_ensemble "$row" "$SEED"
    done
}
in_lanes train_rows "${rows[@]}"

all_models 1 && runs=("${found[@]}")
all committees .h5
finish --runs "${runs[@]}" --scores "${found[@]}"
