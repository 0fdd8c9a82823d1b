# Sourced by PSLA's recipes (Gong et al. 2021), in place of common.sh: what all its trainings share.
#
#   MODEL       network (efficientnet_b2, 13.64 M; at SCALE=tiny mobilenetv2 of a quarter's width)
#   PRETRAINED  where it starts: imagenet, or a file of weights (imagenet; at SCALE=tiny nothing)
#   TEACHER_RUN run folder of a teacher that is there, in recipes with a teacher (none: it is trained, unless WORK holds
#               runs/teacher and nothing else, as train import --work WORK leaves it)
# shellcheck shell=bash disable=SC2034,SC2154  # names that the recipe sets, or that it reads
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# A row is PSLA, or PSLA without one of its parts (Tables XII and XIV).
PSLA_ROWS=(psla no_pretrain no_sampling no_mask no_mixup no_enhanced)

frames=1056 seconds=10.575                              # that features are filled up to, and clips cut to
# psla_settings: sizes, network and augmentation of a scale, SCALE=tiny being the default.
psla_settings() {
    SCALE=${SCALE:-tiny} TEACHER_RUN=${TEACHER_RUN:-}
    one_of SCALE tiny full
    one_of MODEL "${NETWORKS[@]}"
    [ "${PRETRAINED-}" = imagenet ] || file PRETRAINED
    folder TEACHER_RUN
    half_every=5 last=5
    case $SCALE in
    tiny)   # Shows that every step runs. In place of B2 a narrow MobileNetV2 from random weights, a frame every 20 ms,
        # 3 epochs: halved after the first, averaged over the last two.
        scenes=64 balanced=24 validation=16 evaluation=32 hop_s=.02 lanes=2
        batch=4 epochs=3 halve_after=1 averaged=2-3 last=2
        MODEL=${MODEL:-mobilenetv2} PRETRAINED=${PRETRAINED:-}
        model "$MODEL"
        warming=(--warmup-steps 4)
        masks=(--time-mask-s 1.92 --mel-mask 24) ;;     # of its 64 bands as many as 48 of 128
    full)   # As published, for a GPU. Their library padded convolutions on both sides and left a random stem (0.7.0;
        # stem=sum would keep what ImageNet taught it); masks and short clips were filled before features were normalised;
        # longer clips were cut; the warm-up rose every 50 steps.
        scenes=20000 balanced=4000 validation=500 evaluation=2000 hop_s=.01 lanes=1
        MODEL=${MODEL:-efficientnet_b2} PRETRAINED=${PRETRAINED-imagenet}
        network=(--model "$MODEL" --betas 0.95 0.999 --weight-decay 5e-7 --min-frames "$frames" --fill psla
            --crop start --clip-seconds "$seconds")
        warming=(--warmup-steps 1000 --warmup-every 50)
        masks=(--time-mask-s 1.92 --mel-mask 48)        # below 192 frames and 48 of 128 bands
        case $MODEL in
        efficientnet_b2) network+=(--model-options heads=4 padding=symmetric stem=random) ;;
        efficientnet*)   network+=(--model-options heads=1 padding=symmetric stem=random) ;;
        resnet50)        network+=(--model-options heads=1) ;;  # theirs starts at random: PRETRAINED=
        mbnet)           network+=(--model-options stem=random) ;;
        esac ;;
    esac
    [ "$PRETRAINED" = imagenet ] || PRETRAINED=${PRETRAINED:+$(as_path "$PRETRAINED")}
}

# psla_train ROW SEED OPTIONS...: one training of PSLA, or of PSLA without what the row says; OPTIONS are the set's own.
psla_train() {
    local row=$1 seed=$2 mask=("${masks[@]}")
    local mixup=(--mixup-rate 0.5 --mixup-alpha 10 --mixup-partner uniform) start=()
    [ -z "$PRETRAINED" ] || start=(--pretrained "$PRETRAINED")
    case $row in no_pretrain) start=() ;; no_mask) mask=() ;; no_mixup) mixup=() ;; none) mask=() mixup=() ;; esac
    step "runs/$row-seed$seed/run.json" train --row "$row" --seed "$seed" --threads "$threads" "${network[@]}" \
        "${start[@]}" --batch-size "$batch" --epochs "$epochs" --keep-checkpoints all --schedule halving \
        --halve-after "$halve_after" --halve-every "$half_every" "${warming[@]}" "${mixup[@]}" "${mask[@]}" "${@:3}"
}

# psla_average ROW SEED: the mean weights of the last epochs, as a row of its own (VI-A; each epoch is counted once).
psla_average() {
    step "runs/$1-seed$2-epochs$averaged" average weights "$WORK/runs/$1-seed$2" --epochs "$averaged" \
        --threads "$threads"
}

# psla_epochs ROW SEED [FIRST]: a model of each epoch from FIRST on, as it was; sets $members to their folders. Those of
# the last epochs are rows of one name, ROW-last5, whose mean is what PSLA reports of a single model.
psla_epochs() {
    local epoch folder row
    members=()
    for ((epoch = ${3:-1}; epoch <= epochs; epoch++)); do
        folder=epochs/$1-seed$2-$epoch row=()
        [ "$epoch" -le $((epochs - last)) ] || row=(--row "$1-last$last")
        step "$folder" average weights "$WORK/runs/$1-seed$2" --epochs "$epoch" --statistics mean \
            --out "$WORK/$folder" --threads "$threads" "${row[@]}"
        members+=("$WORK/$folder")
    done
}

# psla_last ROW SEED: the models of the last epochs.
psla_last() { psla_epochs "$1" "$2" $((epochs - last + 1)); }

# all_models SEEDS: sets $found to all runs, and to the models of the last epochs of every row and so many seeds.
all_models() {
    local row seed epoch
    all runs
    for row in "${rows[@]}"; do
        for ((seed = SEED; seed < SEED + $1; seed++)); do
            for ((epoch = epochs - last + 1; epoch <= epochs; epoch++)); do
                found+=("$WORK/epochs/$row-seed$seed-$epoch")
            done
        done
    done
}

# psla_ensemble ROW SEED: the mean answer of all epochs' models to the evaluation list (VI-B).
psla_ensemble() {
    psla_epochs "$1" "$2"
    step "committees/$1-checkpoints.h5" score --run "${members[@]}" --list "$WORK/eval.csv" --windows clip \
        --out "$WORK/committees/$1-checkpoints.h5" --threads "$threads"
}

# psla_teacher LIST: sets $teacher, the run whose scores say which labels are missing (TEACHER_RUN, else one is trained on
# the labels as they are, with the options that follow), and has it answer the clips of LIST: WORK/scores.h5.
psla_teacher() {
    teacher=$WORK/runs/teacher-seed$SEED
    if [ -n "$TEACHER_RUN" ]; then
        teacher=$(as_path "$TEACHER_RUN")
    elif [ -e "$WORK/$annotator" ]; then
        teacher=$WORK/$annotator
        made "$annotator/run.json" given
    else
        psla_train teacher "$SEED" --out "$teacher" --keep-checkpoints 2 "${@:2}"
    fi
    step scores.h5 score --run "$teacher" --list "$1" --windows clip --threads "$threads"
}
