#!/usr/bin/env bash
# What several models are worth together (PSLA, Tables X and XI): means of weights and means of answers. Published,
# balanced set: one model .3162; its weights averaged .3192; 60 checkpoints' answers .3280; 3 seeds .3446; models of
# several settings up to .3620. The answer of a committee was always better than its best member's.
#
#   bash recipes/ensemble.sh                                SCALE=tiny: simulated scenes, a minute on two cores
#   SCALE=full DATA=audioset bash recipes/ensemble.sh       their settings: for a GPU
#
# 1. corpus     simulated, or DATA's lists and audio in one file
# 2. train      PSLA with three seeds, and with one seed in other settings
# 3. weights    the mean weights of one run's last epochs: one model, no further cost
# 4. checkpoints, seeds, settings  mean answers: of one run's epochs, of runs that differ in their seed, in their settings
# 5. evaluate   all members, all committees; committees.txt: number, mean and best of the members, the committee
#
#   SCALE       tiny (the default) or full
#   ROWS        settings, of: no_pretrain no_mask no_mixup mixup_rate mixup_alpha
#   LIST        what is trained on: balanced (the default), or full with PSLA's other settings
#   LABELS      another list of training labels, such as psla_balanced.sh's WORK/enhanced-psla-mean/labels.csv
#   WORK        work-ensemble                      SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
#   MODEL, PRETRAINED: see psla.sh
set -euo pipefail
WORK=${WORK:-work-ensemble}
source "$(dirname "$0")/psla.sh"

psla_settings
LIST=${LIST:-balanced} LABELS=${LABELS:-}
one_of LIST balanced full
file LABELS
rows=(no_mask no_mixup) seeds=2 sampling=shuffle
if [ "$SCALE" = full ]; then
    rows=(no_pretrain no_mask no_mixup mixup_rate mixup_alpha) seeds=3 batch=100
    case $LIST in
    full) epochs=30 halve_after=10 averaged=16-30 network+=(--learning-rate 1e-4) sampling=sum-rule ;;
    *)    epochs=60 halve_after=35 averaged=41-60 network+=(--learning-rate 1e-3) ;;
    esac
fi
choose_rows no_pretrain no_mask no_mixup mixup_rate mixup_alpha
begin RECIPE SCALE SEED MODEL PRETRAINED LIST LABELS DATA SOUNDS SOUND_LABELS ROWS
make_corpus
labels=$balanced_list
[ "$LIST" = balanced ] || labels=$WORK/labels.csv
if [ -n "$LABELS" ]; then
    take given.csv "$LABELS"                            # what belongs to it is in WORK, not where it comes from
    labels=$WORK/given.csv
fi

# train_members NAME...: psla-N is PSLA with seed N, anything else a setting with the first seed.
train_members() {
    local member options
    for member in "$@"; do
        options=(--labels "$labels" --sampling "$sampling")
        [ "$member" = "psla-$SEED" ] || options+=(--keep-checkpoints 2)
        case $member in
        psla-*)      psla_train psla "${member#psla-}" "${options[@]}"; continue ;;
        mixup_rate)  options+=(--mixup-rate 0.25) ;;
        mixup_alpha) options+=(--mixup-alpha 1) ;;
        esac
        psla_train "$member" "$SEED" "${options[@]}"
    done
}
by_seed=()
for ((seed = SEED; seed < SEED + seeds; seed++)); do by_seed+=("psla-$seed"); done
in_lanes train_members "${by_seed[@]}" "${rows[@]}"

# ---- one run: the mean of its weights, and a model of each epoch ----------------------------------------------------
psla_average psla "$SEED"
psla_epochs psla "$SEED"

# ---- answers to the evaluation list, and their means --------------------------------------------------------------
answer() {                                              # RUN...: folders in WORK
    local run
    for run in "$@"; do
        step "answers/${run##*/}.h5" score --run "$WORK/$run" --list "$WORK/eval.csv" --windows clip \
            --out "$WORK/answers/${run##*/}.h5" --threads "$threads"
    done
}
committee() {                                           # NAME RUN...
    local stores=("${@:2}")
    stores=("${stores[@]/#/$WORK/answers/}")
    step "committees/$1.h5" average scores "${stores[@]/%/.h5}" --out "$WORK/committees/$1.h5"
}
same=("${by_seed[@]/#psla-/psla-seed}") other=("psla-seed$SEED" "${rows[@]/%/-seed$SEED}")
all=("${same[@]}" "${other[@]:1}") each=("${members[@]##*/}")
in_lanes answer "${all[@]/#/runs/}" "${each[@]/#/epochs/}"
committee checkpoints "${each[@]}"
committee seeds "${same[@]}"
committee settings "${other[@]}"
committee all "${all[@]}"

# ---- results: first the single epochs, which are many ---------------------------------------------------------------
each=("${each[@]/#/$WORK/answers/}")
step members evaluate --scores "${each[@]/%/.h5}" --out "$WORK/members"
all runs && measured=(--runs "${found[@]}")
all committees .h5 && measured+=(--scores "${found[@]}")
step evaluation evaluate "${measured[@]}"
step committees.txt committees.py "checkpoints=${members[*]##*/}" "seeds=${same[*]}" "settings=${other[*]}" \
    "all=${all[*]}"
show "$WORK/committees.txt"
finish "${measured[@]}"
