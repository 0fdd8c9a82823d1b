#!/usr/bin/env bash
# What each part of PSLA's training is worth, one left out at a time (as PSLA's Table XII does it): balanced sampling by
# the sum rule, time and frequency masks, mixup, the mean weights of the last epochs.
#
#   bash recipes/ablation.sh                                                    SCALE=tiny: a minute on two cores
#   SCALE=demo SOUNDS=FOLDER SOUND_LABELS=CSV bash recipes/ablation.sh          real recordings: about 40 minutes
#   SCALE=full DATA=FOLDER bash recipes/ablation.sh                             PSLA's sizes: for a GPU
#
# 1. corpus     simulated, or DATA's lists and audio in one file
# 2. train      PSLA, PSLA without one part, and without any, for every seed; the mean weights of each run's last epochs
# 3. evaluate   all of them; a row with `epochs` in its name has the mean weights
#
#   SCALE       tiny (the default), demo or full   ROWS        of: psla no_sampling no_mask no_mixup none
#   WORK        work-ablation                      SEEDS       how many (at SCALE=tiny 1, else 3)
#   SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh            MODEL, PRETRAINED: see psla.sh
set -euo pipefail
WORK=${WORK:-work-ablation}
source "$(dirname "$0")/psla.sh"

SCALE=${SCALE:-tiny}
one_of SCALE tiny demo full
whole SEEDS 1 1000
demo=$([ "$SCALE" = demo ] && echo yes || true)
[ -z "$demo" ] || SCALE=tiny                            # psla.sh knows no demo: the sizes below take the place of tiny's
psla_settings
SEEDS=${SEEDS:-$([ "$SCALE$demo" = tiny ] && echo 1 || echo 3)}
if [ -n "$demo" ]; then
    SCALE=demo
    # A MobileNetV2 of half the width from random weights, a frame every 20 ms, 400 steps.
    scenes=320 balanced=64 validation=48 evaluation=240 batch=8 epochs=10 halve_after=7 averaged=8-10 warmup=20
    network=(--model mobilenetv2 --model-options width=0.5 last_channels=640 input_norm=batch --front-end "hop_s=$hop_s"
        --learning-rate 2e-3)
elif [ "$SCALE" = full ]; then
    batch=100 epochs=60 halve_after=35 averaged=41-60 network+=(--learning-rate 1e-3)
fi
rows=(psla no_sampling no_mask no_mixup none)
choose_rows "${rows[@]}"
begin RECIPE SCALE SEED SEEDS MODEL PRETRAINED DATA SOUNDS SOUND_LABELS ROWS
make_corpus

train_rows() {
    local row seed sampling
    for row in "$@"; do
        sampling=sum-rule
        case $row in no_sampling | none) sampling=shuffle ;; esac
        for ((seed = SEED; seed < SEED + SEEDS; seed++)); do
            psla_train "$row" "$seed" --labels "$WORK/labels.csv" --sampling "$sampling" --no-validation
            psla_average "$row" "$seed"
        done
    done
}
in_lanes train_rows "${rows[@]}"

reference=(--ablation psla)
case " $ROWS " in *" psla "*) ;; *) reference=() ;; esac
finish "${reference[@]}"
