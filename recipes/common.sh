# Sourced by the recipes: the settings that all of them have, and what they do in the same way. A recipe sets the sizes
# of its corpus (scenes balanced validation evaluation), hop_s and lanes by SCALE, checks its own settings, then calls begin.
# That checks every step by the verbs' --dry-run before the first is run; with --dry-run the recipe lists them and ends:
#
#   bash recipes/psl_2s.sh --dry-run
#
#   WORK    folder of everything it makes                    SEED    of corpus and models (0)
#   SOUNDS, SOUND_LABELS  folder of isolated recordings, and its table: ESC-50's meta file, or CSV with file,class
#   DATA    folder with audio/ and label lists in any form that the package reads: train.csv, eval.csv, and optionally
#           balanced.csv, validation.csv, truth.csv, vocabulary.csv, groups.csv; AudioSet's own file names work too
# shellcheck shell=bash disable=SC2034,SC2154  # names that the recipe sets, or that it reads
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

WORK=${WORK:-work} SEED=${SEED:-0} DATA=${DATA:-} SOUNDS=${SOUNDS:-} SOUND_LABELS=${SOUND_LABELS:-}
RECIPE=$(basename "$0" .sh)
case ${1-} in
'' | --dry-run) mode=${1-} ;;
--plan) mode=plan; { : >&3; } 2>/dev/null || refuse "--plan: needs somebody who reads descriptor 3 (--dry-run shows it)" ;;
*) printf -v word %q "$1"; refuse "${word:0:80}: not an option of a recipe; there is --dry-run, and settings: SCALE=tiny" ;;
esac
declare -A planned=()                                   # with --plan: what the steps so far would make
releases=()                                             # enhancements that a recipe publishes
vocabulary=                                             # a file of classes that a recipe takes beside DATA
annotator=                                              # a run in WORK that may be there before the recipe
hold_out=                                               # yes: a list to validate on is needed, so DATA gets one
text WORK
whole SEED 0 999999999
folder DATA SOUNDS
file SOUND_LABELS

# ---- settings ---------------------------------------------------------------------------------------------------

# choose_rows ROW...: what ROWS names takes the place of $rows; only these rows are known.
choose_rows() {
    local words one_of="$*"
    local pattern=${one_of//./\\.}
    words ROWS "${pattern// /|}" "one of the rows: $one_of"
    [ ${#words[@]} = 0 ] || rows=("${words[@]}")
    ROWS="${rows[*]}"
}

# begin NAME... [-- NAME...]: claim WORK for the values of these settings, after the last checks; those behind -- are not
# written where they are empty.
begin() {
    both_or_none
    if [ -n "$SOUNDS" ] && [ -n "$DATA" ]; then refuse "SOUNDS and DATA: give one of the two"; fi
    [ -z "$DATA" ] || [ -d "$DATA/FSD50K.ground_truth" ] || find_lists
    claim "$@"
    check_steps
    keep_settings
}

# both_or_none: recordings need the table of their classes.
both_or_none() {
    if [ -n "$SOUNDS" ] && [ -z "$SOUND_LABELS" ]; then refuse "SOUNDS=$SOUNDS: needs SOUND_LABELS=CSV too"; fi
    if [ -n "$SOUND_LABELS" ] && [ -z "$SOUNDS" ]; then refuse "SOUND_LABELS=$SOUND_LABELS: needs SOUNDS=FOLDER too"; fi
}

# check_steps: all steps of this recipe, as --plan says them, before the first.
check_steps() {
    local shown=
    [ "$mode" != plan ] || return 0
    [ "$mode" != --dry-run ] || shown=--show
    { bash "$0" --plan 3>&1 >/dev/null && printf 'end\0'; } | "$python" -P "$root/recipes/plan.py" $shown
    [ -z "$shown" ] || exit 0
}

# claim NAME... [-- NAME...]: what lies in WORK was made with these settings; others would mix two experiments in one
# folder, and a folder of something else stays as it is, but for one that holds $annotator alone.
claim() {
    local name value optional=
    settings= given=
    for name in "$@"; do
        if [ "$name" = -- ]; then optional=yes; continue; fi
        value=${!name-}
        [ -n "$value" ] || [ -z "$optional" ] || continue
        # In anything but a list of words, which were checked, a space would read as the end of the value.
        case $name in
        ROWS | RULES | BETAS | LENGTHS | ANNOTATORS | TEACHERS | STUDENTS) ;;
        *) value=${value//\\/\\\\} value=${value// /\\ } ;;
        esac
        settings+="$name=$value "
    done
    settings=${settings% }
    if [ -e "$WORK/settings.txt" ]; then
        [ "$(cat "$WORK/settings.txt")" = "$settings" ] || refuse "$WORK was made with other settings:
  $(cat "$WORK/settings.txt")
now:
  $settings
Give another WORK, or remove the folder."
    elif [ -n "$annotator" ] && holds_annotator; then
        given=yes
        [ "$mode" = plan ] || echo "$WORK/$annotator is there: it is the annotator, and none is trained"
    elif [ -e "$WORK" ] && { [ ! -d "$WORK" ] || [ -n "$(ls -- "$WORK" 2>/dev/null)" ]; }; then
        refuse_value WORK "not a folder that a recipe made: give one that is new or empty"
    fi
    local made=$WORK                                    # what can be made is known before anything is installed
    while [ ! -e "$made" ] && [ "$made" != / ] && [ "$made" != . ]; do made=$(dirname -- "$made"); done
    { [ -d "$made" ] && [ -w "$made" ] && [ -x "$made" ]; } || refuse_value WORK "cannot be made a folder"
    [ "$mode" = plan ] || source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
    # One thread a model and two models at a time use two cores better than two threads in one narrow model.
    threads=1
    [ "$lanes" != 1 ] || [ "$mode" = plan ] ||
        threads=$("$python" -P -c 'from pseudolabel.machine import allowed_cores; print(allowed_cores())')
}

# holds_annotator: whether WORK holds nothing but the run $annotator, with all that a verb leaves there.
holds_annotator() {
    local name
    [ "$(ls -- "$WORK" 2>/dev/null)/$(ls -- "$WORK/${annotator%%/*}" 2>/dev/null)" = "$annotator" ] || return 1
    for name in run.json config.json model.safetensors; do [ -f "$WORK/$annotator/$name" ] || return 1; done
}

# keep_settings: WORK is there, with the settings of this recipe.
keep_settings() {
    [ "$mode" != plan ] || return 0
    mkdir -p -- "$WORK" 2>/dev/null || refuse_value WORK "cannot be made a folder"
    [ -z "$given" ] || made "$annotator/run.json" given
    if [ ! -e "$WORK/settings.txt" ]; then
        { printf '%s\n' "$settings" >"$WORK/.settings.$$" && mv -- "$WORK/.settings.$$" "$WORK/settings.txt"; } 2>/dev/null ||
            refuse_value WORK "cannot be written to"
    fi
}

# ---- steps ------------------------------------------------------------------------------------------------------

# made OUTPUT COMMAND...: see step.py; step OUTPUT VERB OPTIONS...: the same for a verb, which gets the work folder.
made() {
    if [ "$mode" = plan ]; then plan_step "$@"; else "$python" -P "$root/recipes/step.py" "$WORK" "$@"; fi
}
step() { made "$1" "$2" --work "$WORK" "${@:3}"; }

# always PROGRAM ARGUMENT...: a verb, or a Python file of recipes/, at every run.
always() {
    if [ "$mode" = plan ]; then plan_step '' "$@"; return; fi
    case $1 in
    *.py) "$python" -P "$root/recipes/$1" "${@:2}" ;;
    *)    "$python" -P -m "pseudolabel.$1" "${@:2}" ;;
    esac
}

# plan_step OUTPUT COMMAND...: the step is said instead of run.
plan_step() {
    printf '%s\0' "$WORK" "$#" "$@" >&3
    [ -z "$1" ] || planned["$WORK/${1%/run.json}"]=yes
}

# makes NAME...: what else the step before leaves in WORK that the recipe asks for. there PATH: whether that is so.
makes() {
    local name
    [ "$mode" = plan ] || return 0
    for name in "$@"; do planned["$WORK/$name"]=yes; done
}
there() { [ -e "$1" ] || [ -n "${planned["$1"]-}" ]; }

# all FOLDER [ENDING]: sets $found to what there is in WORK/FOLDER with this ending.
all() {
    local path
    shopt -s nullglob
    found=("$WORK/$1"/*"${2-}")
    for path in "${!planned[@]}"; do
        [ "${path%/*}" != "$WORK/$1" ] || [ "${path%"${2-}"}${2-}" != "$path" ] || [ -e "$path" ] || found+=("$path")
    done
}

# show FILE...: text that the steps have made.
show() { [ "$mode" = plan ] || cat -- "$@"; }

# take NAME FILE: a copy of a file, if there is one, under this name in WORK.
take() {
    if [ -e "$2" ]; then
        made "$1" copy "$(as_path "$2")"
    elif [ -e "$WORK/steps/$1.json" ]; then
        refuse "$WORK/$1: $2, which it was copied from, is gone. Remove it, or give another WORK."
    fi
}

# together COMMAND... -- COMMAND...: side by side where there are two lanes, else one after the other.
together() {
    local one two first=()
    while [ "$1" != -- ]; do first+=("$1"); shift; done
    shift
    if [ "$lanes" = 1 ] || [ "$mode" = plan ]; then "${first[@]}"; "$@"; return; fi
    set -m                                              # a process group for each lane, so that it ends as one
    coproc guard { guard_lanes; }
    "${first[@]}" & one=$!
    "$@" & two=$!
    set +m
    local guarded=$guard_PID to_guard=${guard[1]}
    echo "-$one -$two" >&"$to_guard"
    # shellcheck disable=SC2064
    trap "kill -- -$one -$two 2>/dev/null || true" EXIT  # one lane failed, or Ctrl-C: no lane runs on unseen
    wait -n "$one" "$two"; wait "$one"; wait "$two"      # ends with the first that fails
    trap - EXIT
    echo done >&"$to_guard"
    wait "$guarded"
}

# recipe NAME SETTING=VALUE...: another recipe, which ends when this one does.
recipe() {
    local plan=()
    [ "$mode" != plan ] || plan=(--plan)
    lanes=2 together env "${@:2}" bash "$(dirname "${BASH_SOURCE[0]}")/$1.sh" "${plan[@]}" -- true
}

# guard_lanes: ends the lanes when this recipe is gone without having said that they are done: it was killed.
guard_lanes() {
    local line groups=
    trap '' INT TERM HUP
    while read -r line; do groups=$line; [ "$line" != 'done' ] || return 0; done
    # shellcheck disable=SC2086  # two process groups
    [ -z "$groups" ] || kill -- $groups 2>/dev/null || true
}

# in_lanes COMMAND ROW...: COMMAND takes all rows, half of them in each lane.
in_lanes() {
    local half=$((($# - 1 + 1) / 2))
    together "$1" "${@:2:half}" -- "$1" "${@:2+half}"
}

# finish EVALUATE-OPTIONS...: the table, what others get of the enhancements in $releases, and what it took. A release is
# checked as those would check it.
finish() {
    local rule shown=
    [ ! -e "$WORK/evaluation" ] || shown=yes
    step evaluation evaluate "$@"
    [ -z "$shown" ] || show "$WORK/evaluation/results.md"
    for rule in "${releases[@]}"; do
        step "release-$rule" release --enhanced "$WORK/enhanced-$rule"
        always release verify "$WORK/release-$rule"
    done
    [ "$mode" != plan ] || return 0
    printf 'took %d min %d s; %s holds %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$WORK" "$(du -sh "$WORK" | cut -f1)"
}

# ---- corpus -----------------------------------------------------------------------------------------------------

# first NAME...: the first of these files that DATA holds, or nothing.
first() { local name; for name in "$@"; do [ ! -e "$DATA/$name" ] || { echo "$DATA/$name"; return; }; done; }

# find_lists: sets $training, $few, $validating, $eval, $groups to the lists that DATA holds.
find_lists() {
    # AudioSet's full training list is its unbalanced and its balanced list together.
    training=$(first train.csv labels.csv unbalanced_train_segments.csv unbalanced_train_segments.csv.xz)
    few=$(first balanced.csv balanced_train_segments.csv)
    validating=$(first validation.csv) eval=$(first eval.csv eval_segments.csv) groups=$(first groups.csv)
    [ -d "$DATA/audio" ] && [ -n "$training$few" ] && [ -n "$eval" ] ||
        refuse "$DATA: needs audio/, a training list (train.csv) and an evaluation list (eval.csv)"
}

# make_corpus: simulate one or take DATA, all audio into one file. Sets $balanced_list: the list of the students.
make_corpus() {
    if [ -n "$DATA" ]; then take_data; else simulate_corpus; fi
    balanced_list=$WORK/balanced.csv
    there "$balanced_list" || balanced_list=$WORK/labels.csv
}

simulate_corpus() {
    local sounds=()
    [ -z "$SOUNDS" ] || sounds=(--sounds "$(as_path "$SOUNDS")" --sound-labels "$(as_path "$SOUND_LABELS")")
    step run.json simulate --scenes "$scenes" --balanced "$balanced" --validation "$validation" --eval "$evaluation" \
        --seed "$SEED" "${sounds[@]}"
    makes labels.csv balanced.csv validation.csv eval.csv truth.csv vocabulary.csv
    step clips.h5 prepare
}

take_data() {
    local training few validating eval groups classes=()
    find_lists
    take vocabulary.csv "${vocabulary:-$DATA/vocabulary.csv}"
    take truth.csv "$DATA/truth.csv"
    ! there "$WORK/vocabulary.csv" || classes=(--vocabulary "$WORK/vocabulary.csv")
    if [ -n "$hold_out" ] && [ -z "$validating" ] && { [ ! -e "$WORK/clips.h5" ] || [ -e "$WORK/lists" ]; }; then
        hold_clips_out
    fi
    step clips.h5 prepare --audio "$DATA/audio" "${classes[@]}" --eval "$eval" --labels ${training:+"$training"} ${few:+"$few"} \
        ${few:+--balanced "$few"} ${validating:+--validation "$validating"} ${groups:+--groups "$groups"}
    makes labels.csv eval.csv ${few:+balanced.csv} ${validating:+validation.csv}
}

# hold_clips_out: DATA has no list to validate on, so some clips of the training list become one, with all clips of their
# groups and recordings; neither the teacher's list nor the students' has them. Five of each class, as Moore et al.
hold_clips_out() {
    made lists lists.py hold-out "$WORK" --labels ${training:+"$training"} ${few:+"$few"} ${few:+--balanced "$few"} \
        --eval "$eval" ${groups:+--groups "$groups"} "${classes[@]}" --least 5 --seed "$SEED"
    training=$WORK/lists/train.csv validating=$WORK/lists/validation.csv
    [ -z "$few" ] || few=$WORK/lists/balanced.csv
}

# as_path FILE: with a slash, by which step.py knows a path from a word.
as_path() { case $1 in */*) echo "$1" ;; *) echo "./$1" ;; esac; }

# take_fsd50k: DATA is FSD50K as it is downloaded and unpacked (FSD50K.ground_truth, FSD50K.dev_audio, FSD50K.eval_audio),
# or any folder that take_data takes.
take_fsd50k() {
    if [ ! -d "$DATA/FSD50K.ground_truth" ]; then make_corpus; return; fi
    made lists lists.py fsd50k "$DATA/FSD50K.ground_truth" "$WORK"
    step clips.h5 prepare --audio "$(as_path "$DATA")" --labels "$WORK/lists/train.csv" \
        --validation "$WORK/lists/validation.csv" --eval "$WORK/lists/eval.csv" --vocabulary "$WORK/vocabulary.csv"
    makes labels.csv validation.csv eval.csv vocabulary.csv
    balanced_list=$WORK/labels.csv
}

# ---- models -----------------------------------------------------------------------------------------------------

# model NAME: sets $network to what a network is built and trained with. Learning rates were found for training from
# scratch.
model() {
    network=(--model "$1" --front-end "hop_s=$hop_s")
    case $1 in
    mobilenetv2)  # Twice PSL's learning rate: in so few steps that counts most. The mel bands are normalised at the input,
        # as in docs/results.md; raw decibels, which PSL feeds it, did no worse in one trial (validation mAP .476 against
        # .432 after 5 epochs): leave input_norm out to have them.
        case $SCALE in
        paper) network+=(--learning-rate 1e-3) ;;
        full)  network+=(--model-options input_norm=batch --learning-rate 1e-3) ;;
        *)     network+=(--model-options width=0.25 last_channels=320 input_norm=batch --learning-rate 2e-3) ;;
        esac ;;
    efficientnet*) network+=(--learning-rate 1e-3 --betas 0.95 0.999 --weight-decay 5e-7 --warmup-steps 200) ;;  # PSLA
    ast*)          network+=(--model-options stride=16 --learning-rate 2e-4 --warmup-steps 50) ;;
    esac
}
