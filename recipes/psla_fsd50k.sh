#!/usr/bin/env bash
# PSLA on FSD50K, and PSLA without one of its parts (Table XIV). Published mAP: all .5671; without pretraining .4524,
# balanced sampling .5626, masking .5617, mixup .5164, enhancement .5583; without the checkpoints' mean answer .5535, with
# mean weights in its place .5571.
#
#   bash recipes/psla_fsd50k.sh                             SCALE=tiny: simulated scenes, a minute on two cores
#   SCALE=full DATA=FSD50K bash recipes/psla_fsd50k.sh      their settings: for a GPU
#   ROWS="psla no_mixup" bash recipes/psla_fsd50k.sh
#
# 1. corpus     simulated, or FSD50K as it is downloaded: its development set divided as its authors do (lists.py)
# 2. teacher    PSLA on the training list with its labels as they are; TEACHER_RUN=FOLDER takes one that is there
# 3. enhance    the training list at the mean threshold, as their code does it: it leaves out five classes as not in the
#               ontology (all five are in it), and looks neither for grandchildren nor through abstract nodes. The row
#               own_rule is trained on what `enhance` adds by default
# 4. train      each row: 40 epochs of clips filled up to 3,000 frames, batch 24; the rate 5e-4 is halved every 5 after the
#               10th; the weights that are best on the validation list
# 5. average    the weights of epochs 21 to 40; and the answers of all epochs
# 6. evaluate   FSD50K's evaluation set, whole clips
#
#   SCALE       tiny (the default) or full         ROWS        of: psla no_pretrain no_sampling no_mask no_mixup no_enhanced
#                                                              own_rule
#   WORK        work-psla-fsd50k                   SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
#   MODEL, PRETRAINED: see psla.sh
set -euo pipefail
WORK=${WORK:-work-psla-fsd50k}
source "$(dirname "$0")/psla.sh"

frames=3000 seconds=30.015
psla_settings
annotator=runs/teacher
rows=("${PSLA_ROWS[@]}")
if [ "$SCALE" = tiny ]; then
    how=() rows=(psla no_sampling no_mixup no_enhanced) length=10  # there are no weights that no_pretrain could do without
else
    batch=24 epochs=40 halve_after=10 averaged=21-40 length=$seconds network+=(--learning-rate 5e-4)
    how=(--select best) hold_out=yes
fi
choose_rows "${PSLA_ROWS[@]}" own_rule
begin RECIPE SCALE SEED MODEL PRETRAINED TEACHER_RUN DATA SOUNDS SOUND_LABELS ROWS
if [ -n "$DATA" ]; then take_fsd50k; else make_corpus; fi

psla_teacher "$WORK/labels.csv" --clip-seconds "$length" --sampling sum-rule
step enhanced-psla-mean enhance --threshold mean --profile psla
case " $ROWS " in *" own_rule "*) step enhanced-mean enhance --threshold mean ;; esac

train_rows() {
    local row labels sampling
    for row in "$@"; do
        labels=$WORK/enhanced-psla-mean/labels.csv sampling=sum-rule
        case $row in
        no_enhanced) labels=$WORK/labels.csv ;;
        own_rule)    labels=$WORK/enhanced-mean/labels.csv ;;
        no_sampling) sampling=shuffle ;;
        esac
        psla_train "$row" "$SEED" --labels "$labels" --sampling "$sampling" --clip-seconds "$length" "${how[@]}"
        psla_average "$row" "$SEED"
        psla_ensemble "$row" "$SEED"
    done
}
in_lanes train_rows "${rows[@]}"

all runs && runs=("${found[@]}")
all committees .h5
finish --runs "${runs[@]}" --scores "${found[@]}"
