#!/usr/bin/env bash
# Does balancing the training list help? Models that see rare classes more often, by the exponent beta of the max rule,
# from 0 (the list as it is) to 1 (full balancing), on two evaluation lists of different balance (Moore et al. 2023).
# Published: full balancing raises mAP and d' on the balanced public list and lowers both on an unbalanced one; the best
# beta was .3 for d' on both, .5 and .3 for mAP.
#
#   bash recipes/balance_sweep.sh                               SCALE=tiny: simulated scenes, a minute on two cores
#   SCALE=full DATA=audioset bash recipes/balance_sweep.sh      their settings: for a GPU
#
# 1. corpus     simulated, or DATA's lists and audio in one file
# 2. lists      every fifth group of the training list is held out as the second evaluation list, as unbalanced as it; of
#               the rest, clips with at least 5 of each class are the validation list (balance, as 2.2.2 there)
# 3. train      a model for each beta: each clip M_j times an epoch up to beta .5, drawn by the weights m_j above it
#               (at beta 1 an epoch would be 212 times AudioSet's list)
# 4. select     d' on the validation list every so many steps, smoothed over 7; the checkpoint at the centre of the best
# 5. evaluate   both lists; figures 1 (mAP over beta), 2 (d' over beta), 3 (gain of a class over its prior)
#
#   SCALE       tiny (the default) or full         BETAS       "0 0.1 0.2 0.3 0.5 0.7 1" (at SCALE=tiny "0 0.3 1")
#   WORK        work-balance-sweep                 SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
#   MODEL       ast_base (at SCALE=tiny mobilenetv2 of a quarter's width)
#   RATE        learning rate of SCALE=full (1e-5); they took, of several, the one with the best d' on the validation list
set -euo pipefail
WORK=${WORK:-work-balance-sweep}
source "$(dirname "$0")/common.sh"

SCALE=${SCALE:-tiny} RATE=${RATE:-1e-5}
one_of SCALE tiny full
one_of MODEL "${NETWORKS[@]}"
words BETAS '0|1|0\.[0-9]{0,2}[1-9]' "a number from 0 to 1, such as 0.3"
matching RATE '((0|[1-9][0-9]{0,5})(\.[0-9]{1,9})?|\.[0-9]{1,9})(e-?[0-9]{1,2})?' "a learning rate such as 1e-5"
case $SCALE in
tiny)   # Mixup and masks as there; 24 steps a model, evaluated every 4, smoothed over 3.
    scenes=120 balanced=8 validation=8 evaluation=32 hop_s=.02 lanes=2 least=1
    steps=4 smooth=3 epochs=2 batch=8 patience=0 MODEL=${MODEL:-mobilenetv2} BETAS=${BETAS:-0 0.3 1} ;;
full)   # Batch 1024, no warm-up, no decay. (Theirs was pretrained on 50 M clips of their own; ImageNet, they say, agrees.)
    scenes=20000 balanced=4000 validation=500 evaluation=2000 hop_s=.01 lanes=1 least=5
    steps=3000 smooth=7 epochs=60 batch=1024 patience=15 MODEL=${MODEL:-ast_base} BETAS=${BETAS:-0 0.1 0.2 0.3 0.5 0.7 1} ;;
esac
read -ra betas <<<"$BETAS"
begin RECIPE SCALE SEED MODEL BETAS RATE DATA SOUNDS SOUND_LABELS
make_corpus

model "$MODEL"
[ "$SCALE" = tiny ] || network=(--model "$MODEL" --learning-rate "$RATE" --pretrained imagenet)
case $SCALE-$MODEL in full-ast*) network+=(--model-options stride=10 n_frames=1024) ;; esac
made rest.csv lists.py part "$WORK" --of 5 --seed "$SEED"
step balance balance --labels "$WORK/rest.csv" --validation-clips "$least" --betas "${betas[@]}" --seed "$SEED"

train_betas() {
    local beta rule
    for beta in "$@"; do
        case $beta in
        0)       rule=(--sampling shuffle) ;;
        0.[1-5]) rule=(--sampling repeat --beta "$beta") ;;
        *)       rule=(--sampling max-rule --beta "$beta") ;;
        esac
        step "runs/beta_$beta-seed$SEED/run.json" train --row "beta_$beta" "${network[@]}" "${rule[@]}" \
            --labels "$WORK/balance/training.csv" --validation "$WORK/balance/validation.csv" --schedule constant \
            --mixup-rate 1 --mixup-alpha 10 --mixup-partner batch --mixup-domain energy --time-mask-s 1.92 --mel-mask 48 \
            --evaluate-every "$steps" --select best --metric d-prime --smooth "$smooth" \
            --patience "$patience" --epochs "$epochs" --batch-size "$batch" --seed "$SEED" --threads "$threads"
    done
}
in_lanes train_betas "${betas[@]}"

finish --betas --labels-set "public=$WORK/eval.csv" --labels-set "internal=$WORK/part.csv"
