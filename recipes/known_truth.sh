#!/usr/bin/env bash
# How well does each rule find missing labels, and what do students learn from them? Judged by corpora whose truth is
# known, labelled by careless annotators.
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
# 4. students    five of the same network, which differ in their labels alone: as the annotator gave them (weak), enhanced
#                by 25p, by precision:0.7 (with --errors I II free), its probabilities as soft targets, and true labels;
#                labels are enhanced by the scores of the first of TEACHERS, and mAP is measured on scenes of other sources
# 5. compare     PSLA's thresholds, closure, hierarchical label propagation, cleanlab and precision:P on the same scores:
#                precision, recall and F1 over all missing labels, expected against true precision; the students' mAP,
#                with paired differences over the corpora; a page with figures
#
# cleanlab's rows need `pip install 'pseudolabel[compare]'`; without it, a line says that they are left out.
#
#   SCALE       tiny (does it run?), demo (the default: 95 narrow models, 1 to 2 hours on two cores) or full (for a GPU)
#   SEEDS       how many corpora (5; at SCALE=tiny 1); 0: those of DATA alone
#   ANNOTATORS  "A B C D E" (at SCALE=tiny "A"), and "children parents events", who drop three in ten of these alone
#               (with SEEDS=0 all)   TEACHERS  "in_fold out_of_fold"
#   STUDENTS    annotators whose labels students learn from, of ANNOTATORS (the first; at SCALE=full all; "": none)
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
words STUDENTS '[A-E]|children|parents|events' "one of A B C D E children parents events"
case $SCALE in
tiny) scenes=60 evaluation=30 epochs=1 batch=8 folds=2 sources=7 hop_s=.02 lanes=2 SEEDS=${SEEDS:-1} ANNOTATORS=${ANNOTATORS:-A} ;;
demo) scenes=600 evaluation=300 epochs=10 batch=8 folds=2 sources=40 hop_s=.02 lanes=2 SEEDS=${SEEDS:-5} ;;
full) scenes=20000 evaluation=2000 epochs=30 batch=32 folds=5 sources=40 hop_s=.01 lanes=1 SEEDS=${SEEDS:-5} ;;
esac
[ "$SEEDS" != 0 ] || ANNOTATORS=${ANNOTATORS:-A B C D E children parents events}
ANNOTATORS=${ANNOTATORS:-A B C D E} TEACHERS=${TEACHERS:-in_fold out_of_fold}
read -ra annotators <<<"$ANNOTATORS"
read -ra teachers <<<"$TEACHERS"
if [ "$SEEDS" = 0 ]; then
    [ -z "${STUDENTS-}" ] || refuse_value STUDENTS "needs corpora with sounds, SEEDS of 1 or more"
    STUDENTS=
elif [ "$SCALE" = full ]; then
    STUDENTS=${STUDENTS-$ANNOTATORS}
else
    STUDENTS=${STUDENTS-${annotators[0]}}
fi
read -ra students <<<"$STUDENTS"
for letter in "${students[@]}"; do
    [[ " ${annotators[*]} " = *" $letter "* ]] || refuse_value STUDENTS "$letter is not one of ANNOTATORS: ${annotators[*]}"
done
[ -n "$STUDENTS" ] || evaluation=1
both_or_none
claim RECIPE SCALE SEED SEEDS ANNOTATORS TEACHERS -- STUDENTS DATA SOUNDS SOUND_LABELS
check_steps
keep_settings
base=$WORK

# corpus SEED: its scenes, and its labels by each annotator.
corpus() {
    local sounds=(--classes all --sources "$sources")
    [ -z "$SOUNDS" ] || sounds=(--sounds "$(as_path "$SOUNDS")" --sound-labels "$(as_path "$SOUND_LABELS")")
    step run.json simulate --scenes "$scenes" --validation 1 --eval "$evaluation" --annotator A --seed "$1" "${sounds[@]}"
    makes labels.csv eval.csv truth.csv vocabulary.csv events.csv
    step clips.h5 prepare
    made labels known_truth.py annotate "$WORK" --annotators "${annotators[@]}"
}

# train ROW RUN OPTIONS...: a network; all take the same number of steps a clip.
train() {
    local network
    model mobilenetv2
    step "runs/$2/run.json" train --row "$1" "${network[@]}" --no-validation --threads "$threads" --epochs "$epochs" \
        --batch-size "$batch" --seed "$SEED" "${@:3}" --out "$WORK/runs/$2"
}

# weak ANNOTATOR: the network on its labels as they are: the teacher in_fold, and a student.
weak() { train weak "$1" --labels "$WORK/labels/$1.csv"; }

# teach ANNOTATOR...: their teachers.
teach() {
    local letter teacher
    for letter in "$@"; do
        for teacher in "${teachers[@]}"; do teacher "$letter" "$teacher"; done
    done
}

# teacher ANNOTATOR TEACHER: models, and their scores of the training list.
teacher() {
    local fold models=() list=$WORK/labels/$1.csv
    if [ "$2" = in_fold ]; then
        weak "$1"
        models=(--run "$WORK/runs/$1")
    else
        models=(--folds)
        for ((fold = 1; fold <= folds; fold++)); do
            train "$1" "$1-fold$fold" --labels "$list" --fold "$fold/$folds"
            models+=("$WORK/runs/$1-fold$fold")
        done
    fi
    step "scores/$1-$2.h5" score "${models[@]}" --list "$list" --windows clip --threads "$threads" \
        --out "$WORK/scores/$1-$2.h5"
}

# study: all students of a corpus, and their mAP. True labels are the same whoever the annotator is.
study() {
    local letter row named=()
    for letter in "${students[@]}"; do
        enhanced "$letter" 25p --threshold 25p
        enhanced "$letter" precision-0.7 --threshold precision:0.7 --errors I II free --soft
        for row in weak 25p precision-0.7 soft; do named+=("$letter/$row"); done
    done
    [ ${#named[@]} = 0 ] || in_lanes learn true "${named[@]}"
    for letter in "${students[@]}"; do
        step "evaluation/$letter" evaluate --runs "$WORK/runs/$letter"{,-25p,-precision-0.7,-soft} "$WORK/runs/true" \
            --threads "$threads" --out "$WORK/evaluation/$letter"
    done
}

# enhanced ANNOTATOR RULE OPTIONS...: its labels and what a rule adds to them.
enhanced() {
    step "enhanced/$1-$2" enhance --labels "$WORK/labels/$1.csv" --scores "$WORK/scores/$1-${teachers[0]}.h5" "${@:3}" \
        --out "$WORK/enhanced/$1-$2"
}

# learn STUDENT...: students, each ANNOTATOR/ROW, or true.
learn() {
    local letter row student
    for student in "$@"; do
        letter=${student%/*} row=${student#*/}
        case $row in
        weak) weak "$letter" ;;
        true) train true true --labels "$WORK/truth.csv" --list "$WORK/labels.csv" ;;
        soft) train soft "$letter-soft" --targets "$WORK/enhanced/$letter-precision-0.7/targets.h5" --list "$WORK/labels.csv" ;;
        *)    train "$row" "$letter-$row" --labels "$WORK/enhanced/$letter-$row/labels.csv" --list "$WORK/labels.csv" ;;
        esac
    done
}

corpora=()
for ((seed = SEED; seed < SEED + SEEDS; seed++)); do
    WORK=$base/corpus-$seed
    corpus "$seed"
    in_lanes teach "${annotators[@]}"
    study
    corpora+=("$WORK")
done
WORK=$base
[ -z "$DATA" ] || corpora+=("$(as_path "$DATA")")
[ ${#corpora[@]} -gt 0 ] || refuse "SEEDS=0: needs DATA=FOLDER, corpora with scores"
made comparison known_truth.py compare "$WORK" "${corpora[@]}" --annotators "${annotators[@]}" --teachers "${teachers[@]}" \
    --students "${students[@]}"
show "$WORK/comparison/results.md"
