#!/usr/bin/env bash
# The reference run: from weak, incomplete labels to a better, smaller model, with one command.
#
#   bash recipes/psl_2s.sh                                      ten classes of synthesised sounds: nothing to download
#   SOUNDS=FOLDER SOUND_LABELS=CSV bash recipes/psl_2s.sh       your isolated recordings instead
#   DATA=FOLDER bash recipes/psl_2s.sh                          a real, weakly labelled data set instead
#
# 1. simulate   scenes whose truth is known, and the labels that a careless annotator would have given them
# 2. prepare    all audio into one file that training reads at the speed of memory
# 3. train      the teacher, on the incomplete labels of the full training list
# 4. score      the teacher answers every training clip: whole, and in windows of 10, 5 and 2 s
# 5. enhance    missing labels that the teacher hears and the ontology allows are added, each with its evidence: by a
#               threshold (25p), and those of which 7 in 10 should be right (precision:0.7), with a probability each
# 6. train      students of one size on the balanced fifth: weak, enhanced, PSL-10s, -5s, -2s, true labels (the ceiling)
# 7. evaluate   everything on clips that nobody has trained on: table, figures, report
# 8. release    the enhanced labels as a folder that others can use, and check
#
# Run it again and every finished step is skipped; kill it and it goes on where it was. All steps are checked before the
# first; `bash recipes/psl_2s.sh --dry-run` lists them and ends.
#
# An annotator that is there already takes the place of step 3's, where WORK holds its run folder and nothing else:
#
#   python -m pseudolabel.train import mobilenetv2_mAP40_53.pt --work work-paper
#   SCALE=paper DATA=audioset WORK=work-paper bash recipes/psl_2s.sh
#
# SCALE=paper chooses the students' weights by clips that nobody is trained on. Where DATA has no validation.csv (AudioSet
# has none), clips of its training list are held out: five of each class that has ten or more, not from the balanced list
# where there is one, with all clips of their groups and recordings. An annotator that was given may have heard them.
#
#   SCALE   tiny (about a minute: does it run?), demo (the default: about 11 minutes on two cores), full (for a GPU),
#           paper (the same, students trained as PSL's are)
#   WORK    folder of everything it makes (work)              SEED     of corpus and models (0)
#   TEACHER, STUDENT  mobilenetv2, efficientnet_b0, efficientnet_b2, ast_tiny ... (mobilenetv2)
#   SOUNDS, SOUND_LABELS  folder of isolated recordings, and its table: ESC-50's meta file, or CSV with file,class
#   ROWS    which students run, of: weak enhanced precision-0.7 psl_10s psl_5s psl_2s psl_2s_half psl_2s_calibrated true
#           (enhanced: by 25p; psl_2s_half: half the targets' weight goes to the weak labels, PSL's alpha = .5;
#           psl_2s_calibrated: a clip's 2 s targets state the probability of each label)
#   LENGTHS such as "10s 5s 2s": every run is also tested on pieces of that length, by their mean (2s-max: maximum);
#           none by default, but in psl_10s.sh and psl_5s.sh
#   DATA    folder with audio/ and label lists in any form that the package reads: train.csv, eval.csv, and optionally
#           balanced.csv, validation.csv, truth.csv, vocabulary.csv, groups.csv; AudioSet's own file names work too
set -euo pipefail
source "$(dirname "$0")/common.sh"

SCALE=${SCALE:-demo} STUDENT=${STUDENT:-mobilenetv2} LENGTHS=${LENGTHS:-}
one_of SCALE tiny demo full paper
one_of STUDENT "${NETWORKS[@]}"
one_of TEACHER "${NETWORKS[@]}"
words LENGTHS '([1-9][0-9]{0,3}(\.[0-9]{1,3})?|0\.[0-9]{1,3})s(-max)?' "a length such as 10s or 2s-max"
lengths=("${words[@]}")
annotator=runs/teacher
how=(--no-validation)                                   # all students take the same steps; the last weights count
case $SCALE in
tiny)   # Proves that every step runs and fits the next; far too little for a model to learn much.
    scenes=96 balanced=32 validation=8 evaluation=32    # clips of 10 s
    teacher_epochs=3 student_epochs=3 batch=4 seeds=1
    rows=(weak enhanced precision-0.7 psl_2s psl_2s_calibrated true)
    hop_s=.02 lanes=2 ;;
demo)   # Two cores, 11 minutes: some 55,000 passes of a clip through a narrow model, 15 ms each.
    scenes=1500 balanced=300 validation=100 evaluation=300  # as in the papers the students see a fifth of the clips
    teacher_epochs=8 student_epochs=12 batch=8          # 1,500 and 450 steps: mAP still rises, but time is up
    seeds=2                                             # two students a row, so that the table can show their spread
    rows=(weak enhanced precision-0.7 psl_2s psl_2s_calibrated true)
    hop_s=.02 lanes=2 ;;                                  # a frame every 20 ms: half the work of the papers' 10 ms
full)   # The papers' sizes: full-width models, a frame every 10 ms. For a GPU; a CPU would take weeks.
    scenes=20000 balanced=4000 validation=500 evaluation=2000
    teacher_epochs=30 student_epochs=60 batch=32 seeds=3
    rows=(weak enhanced precision-0.7 psl_10s psl_5s psl_2s psl_2s_calibrated true)
    hop_s=.01 lanes=1 ;;
paper)  # PSL's own training: decibels as they are, 32 pieces a step whatever their length, and validation on clips that
    # are held out (their code takes the training list). Their annotator saw all of AudioSet, the students a hundredth.
    scenes=20000 balanced=4000 validation=500 evaluation=2000
    teacher_epochs=30 student_epochs=300 batch=32 seeds=3
    rows=(weak psl_10s psl_5s psl_2s)
    how=(--schedule constant --select best --patience 15) hold_out=yes
    hop_s=.01 lanes=1 ;;
esac
choose_rows weak enhanced precision-0.7 psl_10s psl_5s psl_2s psl_2s_half psl_2s_calibrated true
TEACHER=${TEACHER:-$([ "$SCALE" = full ] && echo efficientnet_b2 || echo mobilenetv2)}  # PSLA's teacher needs a GPU
begin SCALE SEED TEACHER STUDENT DATA SOUNDS SOUND_LABELS ROWS -- LENGTHS
make_corpus

# ---- models -----------------------------------------------------------------------------------------------------
# The teacher hears the full list with the annotator's labels; it scores that list, and its scores decide what is added.
teach() {
    local network
    model "$TEACHER"
    step runs/teacher/run.json train --row teacher "${network[@]}" --threads "$threads" \
        --epochs "$teacher_epochs" --batch-size "$batch" --seed "$SEED"
    step scores.h5 score --list "$WORK/labels.csv" --threads "$threads"
    step enhanced-25p enhance --threshold 25p
    case " ${rows[*]} " in *" precision-0.7 "* | *" psl_2s_calibrated "*)
        step enhanced-precision-0.7 enhance --threshold precision:0.7 --soft-windows 2s ;;
    esac
}

# knows_truth: whether truth.csv has every clip of the balanced list; in real data it often covers the evaluation alone.
knows_truth() {
    there "$WORK/truth.csv" || return 1
    [ -e "$WORK/truth.csv" ] && [ -e "$balanced_list" ] || return 0  # they will be
    [ -z "$(comm -13 <(cut -d, -f1 "$WORK/truth.csv" | sort) <(cut -d, -f1 "$balanced_list" | sort))" ]
}

# student ROW SEED: one student on the balanced list. The rows differ in their targets alone: a step sees the same
# seconds of audio whatever the window, so all rows take the same number of steps. (PSL's own code takes 32 pieces a
# step, whatever their length, which gives 2 s windows five times the steps.)
student() {
    local targets network pieces=$batch
    case $1 in
    weak)     targets=(--labels "$WORK/labels.csv") ;;
    enhanced) targets=(--labels "$WORK/enhanced-25p/labels.csv") ;;
    true)     knows_truth || return 0; targets=(--labels "$WORK/truth.csv") ;;
    precision-0.7) targets=(--labels "$WORK/enhanced-precision-0.7/labels.csv") ;;
    psl_2s_calibrated) targets=(--targets "$WORK/enhanced-precision-0.7/window_targets.h5" --window 2s) ;;
    psl_2s_half) targets=(--targets "$WORK/scores.h5" --window 2s --alpha 0.5) ;;
    psl_*)    targets=(--targets "$WORK/scores.h5" --window "${1#psl_}") ;;
    esac
    [ "$SCALE" = paper ] || case $1 in psl_5s) pieces=$((batch * 2)) ;; psl_2s*) pieces=$((batch * 5)) ;; esac
    model "$STUDENT"
    step "runs/$1-seed$2/run.json" train --row "$1" "${network[@]}" "${targets[@]}" --list "$balanced_list" \
        --threads "$threads" --epochs "$student_epochs" --batch-size "$pieces" --seed "$2" "${how[@]}"
}

# students ROW...: every seed of these rows.
students() {
    local row seed
    for row in "$@"; do
        for ((seed = SEED; seed < SEED + seeds; seed++)); do student "$row" "$seed"; done
    done
}

without_teacher=() with_teacher=()
for row in "${rows[@]}"; do
    case $row in weak | true) without_teacher+=("$row") ;; *) with_teacher+=("$row") ;; esac
done
half=$(((${#with_teacher[@]} + 1) / 2))
together teach -- students "${without_teacher[@]}"
together students "${with_teacher[@]:0:half}" -- students "${with_teacher[@]:half}"

# ---- results ----------------------------------------------------------------------------------------------------
# A student of 2 s windows may hear 10 s, and one of 10 s may have to answer after 2: the mean over pieces counts.
releases=(25p) scales=()
[ ${#lengths[@]} = 0 ] || scales=(--scales clip "${lengths[@]}")
finish "${scales[@]}"
