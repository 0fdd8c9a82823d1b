#!/usr/bin/env bash
# AST on AudioSet as its authors' run script trains it (Gong et al. 2021, egs/audioset/run.sh). Published: full set, mean
# weights of the epochs, mAP .459, one epoch's .448; balanced set .347.
#
#   bash recipes/ast_audioset.sh                                     SCALE=tiny: simulated scenes, a minute on two cores
#   SCALE=full DATA=audioset bash recipes/ast_audioset.sh            their settings: for a GPU
#   SCALE=full LIST=full DATA=audioset bash recipes/ast_audioset.sh
#
# 1. corpus     simulated, or DATA's lists and audio in one file
# 2. labels     balanced list: enhanced at the mean threshold, types I and II, by PSLA's teacher, as PSLA's published code;
#               TEACHER_RUN=FOLDER takes one that is there. Full list: labels as they are, and no teacher
# 3. train      from DeiT's ImageNet weights, patches of 16 x 16 every 10 frames and bands, 1,024 frames; batch 12; Adam,
#               betas .95 .999, weight decay 5e-7; the rate rises for 1,000 steps, in steps of 50; half of the clips are
#               mixed; masks below 192 frames and 48 bands. Balanced list: shuffled, 25 epochs, 5e-5, halved every 5 after
#               the 10th. Full list: balanced sampling, 5 epochs, 1e-5, halved after the 2nd and each after it
# 4. average    the weights of epochs 6 to 25, or of all 5
# 5. evaluate   the last epoch, the mean weights; ast-last5: mean and spread of the last five epochs
#
#   SCALE       tiny (the default) or full         ROWS        of: ast no_pretrain no_sampling no_mask no_mixup no_enhanced
#   LIST        balanced (the default) or full     SEEDS       trainings a row (1; the paper: 3)
#   PRETRAINED  imagenet (DeiT), or a file of its weights (at SCALE=tiny nothing)
#   MODEL       of the teacher, and TEACHER_RUN: see psla.sh
#   WORK        work-ast-audioset                  SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
set -euo pipefail
WORK=${WORK:-work-ast-audioset}
source "$(dirname "$0")/psla.sh"

psla_settings
annotator=runs/teacher
LIST=${LIST:-balanced} SEEDS=${SEEDS:-} rows=(ast)
one_of LIST balanced full
whole SEEDS 1 1000
choose_rows ast no_pretrain no_sampling no_mask no_mixup no_enhanced
begin RECIPE SCALE SEED LIST MODEL PRETRAINED TEACHER_RUN DATA SOUNDS SOUND_LABELS ROWS -- SEEDS
make_corpus

# ---- labels -----------------------------------------------------------------------------------------------------
teach() {
    local of_teacher=("${network[@]}") PRETRAINED=
    if [ "$SCALE" = full ]; then
        local batch=100 epochs=30 halve_after=10 PRETRAINED=imagenet  # PSLA's, of the full set
        of_teacher+=(--learning-rate 1e-4)
    fi
    local network=("${of_teacher[@]}")
    psla_teacher "$balanced_list" --labels "$WORK/labels.csv" --sampling sum-rule
    step enhanced-psla-mean enhance --labels "$balanced_list" --threshold mean --profile psla
}
plain=$WORK/labels.csv enhanced=$WORK/labels.csv sampling=sum-rule
if [ "$LIST" = balanced ]; then
    plain=$balanced_list enhanced=$WORK/enhanced-psla-mean/labels.csv sampling=shuffle
    teach
fi

# ---- AST --------------------------------------------------------------------------------------------------------
case $SCALE in
tiny)   # AST as it is (5.5 M parameters) hears 2 s in place of 10 and a frame every 20 ms: 48 patches.
    network=(--model ast_tiny --model-options stride=16 --front-end "hop_s=$hop_s" --learning-rate 2e-4)
    masks=(--time-mask-s 0.4 --mel-mask 48) length=2 ;;
full)   # The authors' 1,024 frames are 10.255 s.
    network=(--model ast_base --model-options stride=10 n_frames=1024 --betas 0.95 0.999 --weight-decay 5e-7 --fill psla
        --crop start)
    batch=12 length=10.255
    case $LIST in
    balanced) epochs=25 halve_after=10 averaged=6-25 network+=(--learning-rate 5e-5) ;;
    full)     epochs=5 halve_after=2 half_every=1 averaged=1-5 network+=(--learning-rate 1e-5) ;;
    esac ;;
esac

train_rows() {
    local row seed labels drawn
    for row in "$@"; do
        labels=$enhanced drawn=$sampling
        case $row in no_enhanced) labels=$plain ;; no_sampling) drawn=shuffle ;; esac
        for ((seed = SEED; seed < SEED + ${SEEDS:-1}; seed++)); do
            psla_train "$row" "$seed" --labels "$labels" --sampling "$drawn" --clip-seconds "$length"
            psla_average "$row" "$seed"
            psla_last "$row" "$seed"
        done
    done
}
in_lanes train_rows "${rows[@]}"

all_models "${SEEDS:-1}"
finish --train-labels "$plain" --runs "${found[@]}"
