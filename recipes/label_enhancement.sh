#!/usr/bin/env bash
# What enhanced labels are worth (PSLA, Table IX): a model on the list as it is and on four enhanced ones, each tested on
# the evaluation list as it is and on four enhanced ones, on ESC-50 and on FSD50K. Published, balanced set: no gain on the
# list as it is (mAP .3123; mean .3162, 25p .3165, 10p .3078, 5p .3078), gains on all others.
#
#   bash recipes/label_enhancement.sh                               SCALE=tiny: simulated scenes, a minute on two cores
#   SCALE=full DATA=audioset bash recipes/label_enhancement.sh      their settings: for a GPU
#
# 1. corpus     simulated, or DATA's lists and audio in one file
# 2. teacher    PSLA on the full list as it is; TEACHER_RUN=FOLDER takes one that is there
# 3. enhance    the training list, and the evaluation list with thresholds of its own (the paper does not say whose)
# 4. train      the same model with the same seed on each training list
# 5. evaluate   each model on each evaluation list: one table; ESC-50 and FSD50K through a table of classes
#
#   SCALE       tiny (the default) or full         ROWS        of: original mean 25p 10p 5p
#   LIST        what is trained on: balanced (the default), or full with PSLA's other settings
#   ESC50       ESC-50's folder (audio/, meta/esc50.csv), FSD50K: FSD50K's folder as it is downloaded (none)
#   ESC50_MAP, FSD50K_MAP  esc50 and fsd50k, or CSV class_id,target_id: which class of the model a class of theirs is
#   WORK        work-label-enhancement             SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
#   MODEL, PRETRAINED: see psla.sh
set -euo pipefail
WORK=${WORK:-work-label-enhancement}
source "$(dirname "$0")/psla.sh"

psla_settings
annotator=runs/teacher
LIST=${LIST:-balanced} ESC50=${ESC50:-} FSD50K=${FSD50K:-} full=() sampling=shuffle
ESC50_MAP=${ESC50_MAP:-} FSD50K_MAP=${FSD50K_MAP:-}
one_of LIST balanced full
folder ESC50 FSD50K
for name in ESC50_MAP FSD50K_MAP; do case ${!name} in esc50 | fsd50k) ;; *) file "$name" ;; esac; done
rows=(original mean 25p 10p 5p)
if [ "$SCALE" = full ]; then                            # settings of the balanced set; the teacher's: of the full set
    batch=100 epochs=60 halve_after=35 network+=(--learning-rate 1e-3)
    full=(--epochs 30 --halve-after 10 --learning-rate 1e-4)
fi
choose_rows original mean 25p 10p 5p
begin RECIPE SCALE SEED MODEL PRETRAINED TEACHER_RUN LIST DATA SOUNDS SOUND_LABELS ROWS -- ESC50 ESC50_MAP FSD50K FSD50K_MAP
make_corpus
case $LIST in
balanced) list=$balanced_list own=() ;;
full)     list=$WORK/labels.csv own=("${full[@]}") sampling=sum-rule ;;
esac

psla_teacher "$list" --labels "$WORK/labels.csv" --sampling sum-rule "${full[@]}"
step eval-scores.h5 score --run "$teacher" --list "$WORK/eval.csv" --windows clip --threads "$threads" \
    --out "$WORK/eval-scores.h5"
sets=(--labels-set "original=$WORK/eval.csv")
for rule in "${rows[@]}"; do
    [ "$rule" != original ] || continue
    step "enhanced-$rule" enhance --labels "$list" --threshold "$rule"
    step "eval-enhanced-$rule" enhance --labels "$WORK/eval.csv" --scores "$WORK/eval-scores.h5" --threshold "$rule" \
        --out "$WORK/eval-enhanced-$rule"
    sets+=(--labels-set "$rule=$WORK/eval-enhanced-$rule/labels.csv")
done

train_rows() {
    local row labels
    for row in "$@"; do
        labels=$WORK/enhanced-$row/labels.csv
        [ "$row" != original ] || labels=$list
        psla_train "$row" "$SEED" --labels "$labels" --sampling "$sampling" --keep-checkpoints 2 "${own[@]}"
    done
}
in_lanes train_rows "${rows[@]}"
runs=("${rows[@]/#/$WORK/runs/}")
runs=("${runs[@]/%/-seed$SEED}")

# ---- sets of other makers: their classes that have one among the model's --------------------------------------------
# outside NAME AUDIO LABELS VOCABULARY MAP SECONDS: every run on another set, cut to so many seconds.
outside() {
    step "$1/clips.h5" prepare --work "$WORK/$1" --audio "$2" --eval "$3" --vocabulary "$4" --limit-seconds "$6"
    step "$1/evaluation" evaluate --work "$WORK/$1" --runs "${runs[@]}" --vocabulary "$4" --class-map "$5"
}
if [ -n "$ESC50" ]; then
    outside esc50 "$ESC50/audio" "$ESC50/meta/esc50.csv" esc50 "${ESC50_MAP:-esc50}" 10
fi
if [ -n "$FSD50K" ]; then
    outside fsd50k "$FSD50K/FSD50K.eval_audio" "$FSD50K/FSD50K.ground_truth/eval.csv" fsd50k \
        "${FSD50K_MAP:-fsd50k}" 10
fi

finish --train-labels "$list" --runs "${runs[@]}" "${sets[@]}"
