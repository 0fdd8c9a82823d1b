#!/usr/bin/env bash
# How well does each rule find missing labels? Judged by corpora whose truth is known, labelled by careless annotators.
#
#   bash recipes/known_truth.sh                                 synthesised sounds of all classes
#   SOUNDS=FOLDER SOUND_LABELS=CSV bash recipes/known_truth.sh  your isolated recordings instead
#   DATA=FOLDER SEEDS=0 bash recipes/known_truth.sh             your recordings' true labels, with any teacher's scores
#
# 1. simulate    a corpus for each seed: scenes whose truth is known
# 2. annotate    its labels by each annotator: A class-dependent, B severe, C like AudioSet's, D led by loudness, E as A
#                with false labels (simulate --annotator gives the same)
# 3. train       for each annotator a MobileNetV2 on its labels: on all clips (in_fold) and without a part of the pools,
#                whose clips it then scores (out_of_fold)
# 4. compare     PSLA's thresholds, closure, hierarchical label propagation, cleanlab and precision:P on the same scores:
#                precision, recall and F1 over all missing labels, expected against true precision; a page with figures
#
# cleanlab's rows need `pip install 'pseudolabel[compare]'`; without it, a line says that they are left out.
#
#   SCALE       tiny (does it run?), demo (the default: 75 narrow models) or full (for a GPU)
#   SEEDS       how many corpora (5; at SCALE=tiny 1); 0: those of DATA alone
#   ANNOTATORS  "A B C D E" (at SCALE=tiny "A"), and "children parents events", who drop three in ten of these alone
#               (with SEEDS=0 all)   TEACHERS  "in_fold out_of_fold"
#   DATA        folder with truth.csv (a label list), scores*.h5 (a score store for each teacher) and, unless they are
#               AudioSet's, vocabulary.csv and ontology.csv: labels are left out of truth.csv five times; without levels
#               of events there is no D. Or a folder of .npz files: truth, labels and scores (Known.read in
#               pseudolabel/reports/known_truth.py)
#   WORK        work-known-truth                  SEED, SOUNDS, SOUND_LABELS: see common.sh
set -euo pipefail
WORK=${WORK:-work-known-truth}
source "$(dirname "$0")/common.sh"

SCALE=${SCALE:-demo}
one_of SCALE tiny demo full
whole SEEDS 0 100
words ANNOTATORS '[A-E]|children|parents|events' "one of A B C D E children parents events"
words TEACHERS 'in_fold|out_of_fold' "in_fold or out_of_fold"
case $SCALE in
tiny) scenes=60 epochs=1 batch=8 folds=2 sources=7 hop_s=.02 lanes=2 SEEDS=${SEEDS:-1} ANNOTATORS=${ANNOTATORS:-A} ;;
demo) scenes=600 epochs=10 batch=8 folds=2 sources=40 hop_s=.02 lanes=2 SEEDS=${SEEDS:-5} ;;
full) scenes=20000 epochs=30 batch=32 folds=5 sources=40 hop_s=.01 lanes=1 SEEDS=${SEEDS:-5} ;;
esac
[ "$SEEDS" != 0 ] || ANNOTATORS=${ANNOTATORS:-A B C D E children parents events}
ANNOTATORS=${ANNOTATORS:-A B C D E} TEACHERS=${TEACHERS:-in_fold out_of_fold}
both_or_none
claim RECIPE SCALE SEED SEEDS ANNOTATORS TEACHERS -- DATA SOUNDS SOUND_LABELS
check_steps
keep_settings
read -ra annotators <<<"$ANNOTATORS"
read -ra teachers <<<"$TEACHERS"
base=$WORK

# corpus SEED: its scenes, and its labels by each annotator.
corpus() {
    local sounds=(--classes all --sources "$sources")
    [ -z "$SOUNDS" ] || sounds=(--sounds "$(as_path "$SOUNDS")" --sound-labels "$(as_path "$SOUND_LABELS")")
    step run.json simulate --scenes "$scenes" --validation 1 --eval 1 --annotator A --seed "$1" "${sounds[@]}"
    makes labels.csv truth.csv vocabulary.csv events.csv
    step clips.h5 prepare
    made labels known_truth.py annotate "$WORK" --annotators "${annotators[@]}"
}

# teach ANNOTATOR...: their teachers.
teach() {
    local letter teacher
    for letter in "$@"; do
        for teacher in "${teachers[@]}"; do teacher "$letter" "$teacher"; done
    done
}

# teacher ANNOTATOR TEACHER: models, and their scores of the training list.
teacher() {
    local network fold models=() list=$WORK/labels/$1.csv
    model mobilenetv2
    network+=(--labels "$list" --no-validation --threads "$threads" --epochs "$epochs" --batch-size "$batch" --seed "$SEED")
    if [ "$2" = in_fold ]; then
        step "runs/$1/run.json" train --row "$1" "${network[@]}" --out "$WORK/runs/$1"
        models=(--run "$WORK/runs/$1")
    else
        models=(--folds)
        for ((fold = 1; fold <= folds; fold++)); do
            step "runs/$1-fold$fold/run.json" train --row "$1" "${network[@]}" --fold "$fold/$folds" \
                --out "$WORK/runs/$1-fold$fold"
            models+=("$WORK/runs/$1-fold$fold")
        done
    fi
    step "scores/$1-$2.h5" score "${models[@]}" --list "$list" --windows clip --threads "$threads" \
        --out "$WORK/scores/$1-$2.h5"
}

corpora=()
for ((seed = SEED; seed < SEED + SEEDS; seed++)); do
    WORK=$base/corpus-$seed
    corpus "$seed"
    in_lanes teach "${annotators[@]}"
    corpora+=("$WORK")
done
WORK=$base
[ -z "$DATA" ] || corpora+=("$(as_path "$DATA")")
[ ${#corpora[@]} -gt 0 ] || refuse "SEEDS=0: needs DATA=FOLDER, corpora with scores"
made comparison known_truth.py compare "$WORK" "${corpora[@]}" --annotators "${annotators[@]}" --teachers "${teachers[@]}"
show "$WORK/comparison/results.md"
