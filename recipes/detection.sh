#!/usr/bin/env bash
# When it sounds: PSL's table of sound event detection. The annotator, and students of weak labels and of its scores of
# 10, 5 and 2 s, judged by the onsets and offsets of events, frame by frame, without and with a median filter; and the
# targets themselves, judged by the events in their windows.
#
#   bash recipes/detection.sh                                       SCALE=tiny: does it run? two minutes on two cores
#   SCALE=demo bash recipes/detection.sh                            ten classes of synthesised sounds (some 30 minutes)
#   DATA=FOLDER EVENTS=strong.tsv SCALE=full bash recipes/detection.sh   real data with onsets and offsets, on a GPU
#
# 1. corpus     scenes whose events are known, and the labels that a careless annotator would have given them
# 2. train      the annotator (PSL's word for the teacher) on the full list; it scores that list in windows
# 3. train      students on the balanced fifth: the same network and steps, other targets
# 4. score      the evaluation clips with every model, frame by frame (.32 s): its scores before they are averaged
# 5. evaluate   detection: segments, events, PSDS-1 and PSDS-2 (pip install -e '.[sed]'; without it they are left out);
#               labels: weak labels and targets of the full list in windows of 10, 5 and 2 s; whole clips
#
#   SCALE   tiny (the default), demo, full (for a GPU)     ROWS     of: weak psl_10s psl_5s psl_2s
#   STUDENT, TEACHER  networks with frames: mobilenetv2 (the default), efficientnet_b0, efficientnet_b2, resnet50
#   EVENTS  with DATA: list of clip, onset, offset and label (AudioSet strong, DESED ...; DATA/events.csv)
#   WORK    work-detection             SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
set -euo pipefail
WORK=${WORK:-work-detection}
source "$(dirname "$0")/common.sh"

SCALE=${SCALE:-tiny} STUDENT=${STUDENT:-mobilenetv2} TEACHER=${TEACHER:-mobilenetv2} EVENTS=${EVENTS:-}
networks=(mobilenetv2 efficientnet_b0 efficientnet_b2 resnet50)
one_of SCALE tiny demo full
one_of STUDENT "${networks[@]}"
one_of TEACHER "${networks[@]}"
file EVENTS
annotator=runs/annotator
rows=(weak psl_10s psl_5s psl_2s)
hop_s=.01                                               # 32 frames are one of the network's: .32 s
filters=(none 1)                                        # three of these frames; the .45 s of DCASE would be one
case $SCALE in
tiny)   scenes=96 balanced=32 validation=8 evaluation=32 teacher_epochs=2 student_epochs=2 batch=4 lanes=2 ;;
demo)   scenes=1500 balanced=300 validation=100 evaluation=300 teacher_epochs=8 student_epochs=12 batch=8 lanes=2 ;;
full)   scenes=20000 balanced=4000 validation=500 evaluation=2000 teacher_epochs=30 student_epochs=60 batch=32 lanes=1 ;;
esac
choose_rows weak psl_10s psl_5s psl_2s
begin SCALE SEED TEACHER STUDENT DATA SOUNDS SOUND_LABELS ROWS -- EVENTS
if [ -n "$EVENTS" ] && [ -z "$DATA" ]; then refuse "EVENTS=$EVENTS: needs DATA=FOLDER too"; fi
make_corpus
events=${EVENTS:-${DATA:-$WORK}/events.csv}
[ -n "$DATA" ] || makes events.csv

# ---- models -----------------------------------------------------------------------------------------------------
annotate() {
    local network
    model "$TEACHER"
    step runs/annotator/run.json train --row annotator "${network[@]}" --threads "$threads" \
        --epochs "$teacher_epochs" --batch-size "$batch" --seed "$SEED" --out "$WORK/runs/annotator"
    step scores.h5 score --run "$WORK/runs/annotator" --list "$WORK/labels.csv" --windows 10s 5s 2s --threads "$threads"
}

# students ROW...: a step hears the same seconds of audio whatever the window, as in psl_2s.sh.
students() {
    local row network targets pieces
    model "$STUDENT"
    for row in "$@"; do
        targets=(--targets "$WORK/scores.h5" --window "${row#psl_}") pieces=$batch
        case $row in
        weak)   targets=(--labels "$WORK/labels.csv") ;;
        psl_5s) pieces=$((batch * 2)) ;;
        psl_2s) pieces=$((batch * 5)) ;;
        esac
        step "runs/$row/run.json" train --row "$row" "${network[@]}" "${targets[@]}" --list "$balanced_list" \
            --threads "$threads" --epochs "$student_epochs" --batch-size "$pieces" --seed "$SEED" --no-validation \
            --out "$WORK/runs/$row"
    done
}

# frames MODEL...: the frames of the evaluation clips.
frames() {
    local name
    for name in "$@"; do
        step "frames/$name.h5" score --frames --run "$WORK/runs/$name" --list "$WORK/eval.csv" --threads "$threads" \
            --out "$WORK/frames/$name.h5"
    done
}

annotate
in_lanes students "${rows[@]}"
names=(annotator "${rows[@]}")
in_lanes frames "${names[@]}"

# ---- results ----------------------------------------------------------------------------------------------------
stores=("${names[@]/#/$WORK/frames/}") shown=
[ ! -e "$WORK/detection" ] || shown=yes
step detection evaluate detection --scores "${stores[@]/%/.h5}" --events "$events" --labels "$WORK/eval.csv" \
    --clips "$WORK/clips.h5" --median-filter "${filters[@]}"
step label-quality evaluate labels --scores "$WORK/scores.h5" --events "$events" --labels "$WORK/labels.csv" \
    --clips "$WORK/clips.h5" --ancestors --enhanced
[ -z "$shown" ] || show "$WORK/detection/results.md" "$WORK/label-quality/results.md"
finish
