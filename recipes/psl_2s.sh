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
# 5. enhance    missing labels that the teacher hears and the ontology allows are added, each with its evidence
# 6. train      students of one size on the balanced fifth: weak, enhanced, PSL-10s, -5s, -2s, true labels (the ceiling)
# 7. evaluate   everything on clips that nobody has trained on: table, figures, report
#
# Run it again and every finished step is skipped; kill it and it goes on where it was.
#
#   SCALE   tiny (under a minute: does it run?), demo (the default: under 8 minutes on two cores), full (for a GPU)
#   WORK    folder of everything it makes (work)              SEED     of corpus and models (0)
#   TEACHER, STUDENT  mobilenetv2, efficientnet_b0, efficientnet_b2, ast_tiny ... (mobilenetv2)
#   SOUNDS, SOUND_LABELS  folder of isolated recordings, and its table: ESC-50's meta file, or CSV with file,class
#   ROWS    which students run, of: weak enhanced psl_10s psl_5s psl_2s true
#   DATA    folder with audio/ and label lists in any form that the package reads: train.csv, eval.csv, and optionally
#           balanced.csv, validation.csv, truth.csv, vocabulary.csv, groups.csv; AudioSet's own file names work too
set -euo pipefail
source "$(dirname "$0")/setup.sh"

SCALE=${SCALE:-demo} WORK=${WORK:-work} SEED=${SEED:-0} DATA=${DATA:-} SOUNDS=${SOUNDS:-} SOUND_LABELS=${SOUND_LABELS:-}
STUDENT=${STUDENT:-mobilenetv2}

case $SCALE in
tiny)   # Proves that every step runs and fits the next; far too little for a model to learn much.
    scenes=96 balanced=32 validation=8 evaluation=32    # clips of 10 s
    teacher_epochs=3 student_epochs=3 batch=4 seeds=1
    rows=(weak enhanced psl_2s true)
    hop=320 lanes=2 ;;
demo)   # Two cores, 8 minutes: some 40,000 passes of a clip through a narrow model, 15 ms each.
    scenes=1500 balanced=300 validation=100 evaluation=300  # as in the papers the students see a fifth of the clips
    teacher_epochs=8 student_epochs=12 batch=8          # 1,500 and 450 steps: mAP still rises, but time is up
    seeds=2                                             # two students a row, so that the table can show their spread
    rows=(weak enhanced psl_2s true)                    # ROWS="weak enhanced psl_10s psl_5s psl_2s true" has them all
    hop=320 lanes=2 ;;                                  # a frame every 20 ms: half the work of the papers' 10 ms
full)   # The papers' sizes: full-width models, a frame every 10 ms. For a GPU; a CPU would take weeks.
    scenes=20000 balanced=4000 validation=500 evaluation=2000
    teacher_epochs=30 student_epochs=60 batch=32 seeds=3
    rows=(weak enhanced psl_10s psl_5s psl_2s true)
    hop=160 lanes=1 ;;
*)  echo "SCALE=$SCALE: must be tiny, demo or full" >&2; exit 2 ;;
esac
[ -z "${ROWS:-}" ] || read -ra rows <<<"$ROWS"
for row in "${rows[@]}"; do
    case $row in weak | enhanced | psl_10s | psl_5s | psl_2s | true) ;;
    *) echo "ROWS: no row $row; there are: weak enhanced psl_10s psl_5s psl_2s true" >&2; exit 2 ;;
    esac
done
if [ -n "$SOUNDS" ] && [ -z "$SOUND_LABELS" ]; then
    echo "SOUNDS=$SOUNDS: needs SOUND_LABELS=CSV too" >&2; exit 2
elif [ -n "$SOUND_LABELS" ] && [ -z "$SOUNDS" ]; then
    echo "SOUND_LABELS=$SOUND_LABELS: needs SOUNDS=FOLDER too" >&2; exit 2
elif [ -n "$SOUNDS" ] && [ -n "$DATA" ]; then
    echo "SOUNDS and DATA: give one of the two" >&2; exit 2
fi
TEACHER=${TEACHER:-$([ "$SCALE" = full ] && echo efficientnet_b2 || echo mobilenetv2)}  # PSLA's teacher needs a GPU

# What stands in WORK was made with these settings; others would mix two experiments in one folder.
settings="SCALE=$SCALE SEED=$SEED TEACHER=$TEACHER STUDENT=$STUDENT DATA=$DATA SOUNDS=$SOUNDS SOUND_LABELS=$SOUND_LABELS ROWS=${rows[*]}"
mkdir -p "$WORK"
if [ -e "$WORK/settings.txt" ] && [ "$(cat "$WORK/settings.txt")" != "$settings" ]; then
    printf '%s was made with other settings:\n  %s\nnow:\n  %s\nGive another WORK, or remove the folder.\n' \
        "$WORK" "$(cat "$WORK/settings.txt")" "$settings" >&2
    exit 2
fi
[ -e "$WORK/settings.txt" ] || echo "$settings" >"$WORK/settings.txt"

# step OUTPUT VERB OPTIONS...: run a verb unless its output is there.
step() {
    local output=$WORK/$1 verb=$2
    if [ -e "$output" ]; then echo "have $output"; return; fi
    "$python" -m "pseudolabel.$verb" --work "$WORK" "${@:3}"
}

# first NAME...: the first of these files that DATA holds, or nothing.
first() { for name in "$@"; do [ ! -e "$DATA/$name" ] || { echo "$DATA/$name"; return; }; done; }

# model NAME: what a network is built and trained with. Learning rates were found for training from scratch.
model() {
    echo --model "$1" --front-end "hop=$hop"
    case $1 in
    mobilenetv2)  # Twice PSL's learning rate: in so few steps that counts most. The mel bands are normalised at the input,
        # as in README's tables; raw decibels, which PSL feeds it, did no worse in one trial (validation mAP .476 against
        # .432 after 5 epochs): leave input_norm out to have them.
        [ "$SCALE" = full ] && echo --model-options input_norm=batch --learning-rate 1e-3 ||
            echo --model-options width=0.25 last_channels=320 input_norm=batch --learning-rate 2e-3 ;;
    efficientnet*) echo --learning-rate 1e-3 --betas 0.95 0.999 --weight-decay 5e-7 --warmup-steps 200 ;;  # PSLA
    ast*)          echo --model-options stride=16 --learning-rate 2e-4 --warmup-steps 50 ;;
    esac
}

# One thread a model and two models at a time use two cores better than two threads in one narrow model.
threads=$([ "$lanes" = 1 ] && nproc || echo 1)

# ---- corpus -----------------------------------------------------------------------------------------------------
if [ -n "$DATA" ]; then
    # AudioSet's full training list is its unbalanced and its balanced list together.
    training=$(first train.csv labels.csv unbalanced_train_segments.csv unbalanced_train_segments.csv.xz)
    balanced_list=$(first balanced.csv balanced_train_segments.csv)
    validation_list=$(first validation.csv) eval_list=$(first eval.csv eval_segments.csv) groups=$(first groups.csv)
    [ -n "$training$balanced_list" ] && [ -n "$eval_list" ] ||
        { echo "$DATA: needs audio/, a training list (train.csv) and an evaluation list (eval.csv)" >&2; exit 2; }
    for file in vocabulary.csv truth.csv; do
        [ ! -e "$DATA/$file" ] || [ -e "$WORK/$file" ] || cp "$DATA/$file" "$WORK/$file"
    done
    step clips.h5 prepare --audio "$DATA/audio" --eval "$eval_list" \
        --labels ${training:+"$training"} ${balanced_list:+"$balanced_list"} \
        ${balanced_list:+--balanced "$balanced_list"} ${validation_list:+--validation "$validation_list"} \
        ${groups:+--groups "$groups"}
else
    sounds=()
    [ -z "$SOUNDS" ] || sounds=(--sounds "$SOUNDS" --sound-labels "$SOUND_LABELS")
    step run.json simulate --scenes "$scenes" --balanced "$balanced" --validation "$validation" --eval "$evaluation" \
        --seed "$SEED" "${sounds[@]}"
    step clips.h5 prepare
fi
balanced=$WORK/balanced.csv
[ -e "$balanced" ] || balanced=$WORK/labels.csv

# ---- models -----------------------------------------------------------------------------------------------------
# The teacher hears the full list with the annotator's labels; it scores that list, and its scores decide what is added.
teach() {
    # shellcheck disable=SC2046
    step runs/teacher/run.json train --row teacher $(model "$TEACHER") --threads "$threads" \
        --epochs "$teacher_epochs" --batch-size "$batch" --seed "$SEED"
    step scores.h5 score --list "$WORK/labels.csv" --threads "$threads"
    step enhanced-25p enhance --threshold 25p
}

# knows_truth: whether truth.csv has every clip of the balanced list; in real data it often covers the evaluation alone.
knows_truth() {
    [ -e "$WORK/truth.csv" ] || return 1
    [ -z "$(comm -13 <(cut -d, -f1 "$WORK/truth.csv" | sort) <(cut -d, -f1 "$balanced" | sort))" ]
}

# student ROW SEED: one student on the balanced list. The rows differ in their targets alone: a step sees the same
# seconds of audio whatever the window, so all rows take the same number of steps. (PSL's own code takes 32 pieces a
# step, whatever their length, which gives 2 s windows five times the steps.)
student() {
    local targets pieces=$batch
    case $1 in
    weak)     targets=(--labels "$WORK/labels.csv") ;;
    enhanced) targets=(--labels "$WORK/enhanced-25p/labels.csv") ;;
    true)     knows_truth || return 0; targets=(--labels "$WORK/truth.csv") ;;
    psl_*)    targets=(--targets "$WORK/scores.h5" --window "${1#psl_}") ;;
    esac
    case $1 in psl_5s) pieces=$((batch * 2)) ;; psl_2s) pieces=$((batch * 5)) ;; esac
    # shellcheck disable=SC2046
    step "runs/$1-seed$2/run.json" train --row "$1" $(model "$STUDENT") "${targets[@]}" --list "$balanced" \
        --threads "$threads" --epochs "$student_epochs" --batch-size "$pieces" --seed "$2" --no-validation
}

# students ROW...: every seed of these rows.
students() {
    local row seed
    for row in "$@"; do
        for ((seed = SEED; seed < SEED + seeds; seed++)); do student "$row" "$seed"; done
    done
}

# together COMMAND COMMAND: side by side where there are two lanes, else one after the other.
together() {
    if [ "$lanes" = 1 ]; then $1; $2; return; fi
    set -m                                              # a process group for each lane, so that it ends as one
    $1 & local one=$!
    $2 & local two=$!
    set +m
    trap "kill -- -$one -$two 2>/dev/null || true" EXIT  # one lane failed, or Ctrl-C: no lane runs on unseen
    wait -n; wait -n                                    # ends with the first that fails
    trap - EXIT
}

without_teacher=() with_teacher=()
for row in "${rows[@]}"; do
    case $row in weak | true) without_teacher+=("$row") ;; *) with_teacher+=("$row") ;; esac
done
half=$(((${#with_teacher[@]} + 1) / 2))
together teach "students ${without_teacher[*]}"
together "students ${with_teacher[*]:0:half}" "students ${with_teacher[*]:half}"

# ---- results ----------------------------------------------------------------------------------------------------
if [ -e "$WORK/evaluation" ]; then cat "$WORK/evaluation/results.md"; else step evaluation evaluate; fi
printf 'took %d min %d s; %s holds %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$WORK" "$(du -sh "$WORK" | cut -f1)"
