# Sourced by the recipes: the settings that all of them have, and what they do in the same way. A recipe sets the sizes
# of its corpus (scenes balanced validation evaluation), hop and lanes by SCALE, then calls begin.
#
#   WORK    folder of everything it makes                    SEED    of corpus and models (0)
#   SOUNDS, SOUND_LABELS  folder of isolated recordings, and its table: ESC-50's meta file, or CSV with file,class
#   DATA    folder with audio/ and label lists in any form that the package reads: train.csv, eval.csv, and optionally
#           balanced.csv, validation.csv, truth.csv, vocabulary.csv, groups.csv; AudioSet's own file names work too
# shellcheck shell=bash disable=SC2034,SC2154  # names that the recipe sets, or that it reads
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

WORK=${WORK:-work} SEED=${SEED:-0} DATA=${DATA:-} SOUNDS=${SOUNDS:-} SOUND_LABELS=${SOUND_LABELS:-}
RECIPE=$(basename "$0" .sh)
releases=()                                             # enhancements that a recipe publishes

refuse() { echo "$1" >&2; exit 2; }

# ---- settings ---------------------------------------------------------------------------------------------------

# choose_rows ROW...: what ROWS names takes the place of $rows; only these rows are known.
choose_rows() {
    local row
    [ -z "${ROWS:-}" ] || read -ra rows <<<"$ROWS"
    for row in "${rows[@]}"; do
        case " $* " in *" $row "*) ;; *) refuse "ROWS: no row $row; there are: $*" ;; esac
    done
    ROWS="${rows[*]}"
}

# begin NAME...: claim WORK for these settings. What stands there was made with them; others would mix two experiments
# in one folder.
begin() {
    local name settings
    if [ -n "$SOUNDS" ] && [ -z "$SOUND_LABELS" ]; then refuse "SOUNDS=$SOUNDS: needs SOUND_LABELS=CSV too"; fi
    if [ -n "$SOUND_LABELS" ] && [ -z "$SOUNDS" ]; then refuse "SOUND_LABELS=$SOUND_LABELS: needs SOUNDS=FOLDER too"; fi
    if [ -n "$SOUNDS" ] && [ -n "$DATA" ]; then refuse "SOUNDS and DATA: give one of the two"; fi
    settings=$(for name in "$@"; do printf '%s=%s ' "$name" "${!name-}"; done) settings=${settings% }
    mkdir -p "$WORK"
    if [ -e "$WORK/settings.txt" ] && [ "$(cat "$WORK/settings.txt")" != "$settings" ]; then
        refuse "$WORK was made with other settings:
  $(cat "$WORK/settings.txt")
now:
  $settings
Give another WORK, or remove the folder."
    fi
    [ -e "$WORK/settings.txt" ] || echo "$settings" >"$WORK/settings.txt"
    # One thread a model and two models at a time use two cores better than two threads in one narrow model.
    threads=$([ "$lanes" = 1 ] && nproc || echo 1)
}

# ---- steps ------------------------------------------------------------------------------------------------------

# step OUTPUT VERB OPTIONS...: run a verb unless its output is there.
step() {
    local output=$WORK/$1 verb=$2
    if [ -e "$output" ]; then echo "have $output"; return; fi
    "$python" -m "pseudolabel.$verb" --work "$WORK" "${@:3}"
}

# together COMMAND COMMAND: side by side where there are two lanes, else one after the other.
together() {
    if [ "$lanes" = 1 ]; then $1; $2; return; fi
    set -m                                              # a process group for each lane, so that it ends as one
    $1 & local one=$!
    $2 & local two=$!
    set +m
    # shellcheck disable=SC2064
    trap "kill -- -$one -$two 2>/dev/null || true" EXIT  # one lane failed, or Ctrl-C: no lane runs on unseen
    wait -n; wait -n                                    # ends with the first that fails
    trap - EXIT
}

# in_lanes COMMAND ROW...: COMMAND takes all rows, half of them in each lane.
in_lanes() {
    local half=$((($# - 1 + 1) / 2))
    together "$1 ${*:2:half}" "$1 ${*:2+half}"
}

# finish EVALUATE-OPTIONS...: the table, what others get of the enhancements in $releases, and what it took. A release is
# checked as those would check it.
finish() {
    local rule
    if [ -e "$WORK/evaluation" ]; then cat "$WORK/evaluation/results.md"; else step evaluation evaluate "$@"; fi
    for rule in "${releases[@]}"; do
        step "release-$rule" release --enhanced "$WORK/enhanced-$rule"
        "$python" -m pseudolabel.release --verify "$WORK/release-$rule"
    done
    printf 'took %d min %d s; %s holds %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$WORK" "$(du -sh "$WORK" | cut -f1)"
}

# ---- corpus -----------------------------------------------------------------------------------------------------

# first NAME...: the first of these files that DATA holds, or nothing.
first() { for name in "$@"; do [ ! -e "$DATA/$name" ] || { echo "$DATA/$name"; return; }; done; }

# make_corpus: simulate one or take DATA, all audio into one file. Sets $balanced_list: the list of the students.
make_corpus() {
    if [ -n "$DATA" ]; then take_data; else simulate_corpus; fi
    balanced_list=$WORK/balanced.csv
    [ -e "$balanced_list" ] || balanced_list=$WORK/labels.csv
}

simulate_corpus() {
    local sounds=()
    [ -z "$SOUNDS" ] || sounds=(--sounds "$SOUNDS" --sound-labels "$SOUND_LABELS")
    step run.json simulate --scenes "$scenes" --balanced "$balanced" --validation "$validation" --eval "$evaluation" \
        --seed "$SEED" "${sounds[@]}"
    step clips.h5 prepare
}

take_data() {
    local training few validating eval groups file
    # AudioSet's full training list is its unbalanced and its balanced list together.
    training=$(first train.csv labels.csv unbalanced_train_segments.csv unbalanced_train_segments.csv.xz)
    few=$(first balanced.csv balanced_train_segments.csv)
    validating=$(first validation.csv) eval=$(first eval.csv eval_segments.csv) groups=$(first groups.csv)
    [ -n "$training$few" ] && [ -n "$eval" ] ||
        refuse "$DATA: needs audio/, a training list (train.csv) and an evaluation list (eval.csv)"
    for file in vocabulary.csv truth.csv; do
        [ ! -e "$DATA/$file" ] || [ -e "$WORK/$file" ] || cp "$DATA/$file" "$WORK/$file"
    done
    step clips.h5 prepare --audio "$DATA/audio" --eval "$eval" --labels ${training:+"$training"} ${few:+"$few"} \
        ${few:+--balanced "$few"} ${validating:+--validation "$validating"} ${groups:+--groups "$groups"}
}

# take_fsd50k: DATA is FSD50K as it is downloaded and unpacked (FSD50K.ground_truth, FSD50K.dev_audio, FSD50K.eval_audio),
# or any folder that take_data takes.
take_fsd50k() {
    if [ ! -d "$DATA/FSD50K.ground_truth" ]; then make_corpus; return; fi
    [ -e "$WORK/lists" ] || "$python" "$root/recipes/lists.py" fsd50k "$DATA/FSD50K.ground_truth" "$WORK"
    step clips.h5 prepare --audio "$DATA" --labels "$WORK/lists/train.csv" --validation "$WORK/lists/validation.csv" \
        --eval "$WORK/lists/eval.csv"
    balanced_list=$WORK/labels.csv
}

# ---- models -----------------------------------------------------------------------------------------------------

# model NAME: what a network is built and trained with. Learning rates were found for training from scratch.
model() {
    echo --model "$1" --front-end "hop=$hop"
    case $1 in
    mobilenetv2)  # Twice PSL's learning rate: in so few steps that counts most. The mel bands are normalised at the input,
        # as in README's tables; raw decibels, which PSL feeds it, did no worse in one trial (validation mAP .476 against
        # .432 after 5 epochs): leave input_norm out to have them.
        case $SCALE in
        paper) echo --learning-rate 1e-3 ;;
        full)  echo --model-options input_norm=batch --learning-rate 1e-3 ;;
        *)     echo --model-options width=0.25 last_channels=320 input_norm=batch --learning-rate 2e-3 ;;
        esac ;;
    efficientnet*) echo --learning-rate 1e-3 --betas 0.95 0.999 --weight-decay 5e-7 --warmup-steps 200 ;;  # PSLA
    ast*)          echo --model-options stride=16 --learning-rate 2e-4 --warmup-steps 50 ;;
    esac
}
