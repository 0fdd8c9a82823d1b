#!/usr/bin/env bash
# What a user with AudioSet on disk runs first: weights that the authors of PSLA, PSL or AST published become a teacher,
# which answers the clips and says which labels are missing. Nothing is trained.
#
#   PUBLISHED=audio_model_wa.pth DATA=audioset bash recipes/published_teacher.sh
#   bash recipes/published_teacher.sh                       SCALE=tiny: weights drawn at random, half a minute
#
# 1. convert    the file to a run folder: class ids, front end, padding and fill as its program has them (train import)
# 2. corpus     DATA's lists and audio in one file, or simulated scenes
# 3. score      LIST's clips: whole, and in windows of 10, 5 and 2 s, which students learn from (train --targets)
# 4. enhance    at the mean (PSLA's) and at the 25th percentile; and as PSLA's published code does it
# 5. evaluate   the teacher on the evaluation list
# 6. release    each enhancement as a folder that others can use, and check
#
# These teachers have heard the clips that they relabel: in-sample, as in the papers.
#
#   SCALE       tiny (the default without PUBLISHED): random weights of PSL's annotator, so its answers and what they add
#               mean nothing; full (with PUBLISHED)
#   PUBLISHED   downloaded weights                 SHA256      checksum that the file must have (any)
#   LIST        balanced (the default) or full: what is scored and enhanced
#   RULES       thresholds ("mean 25p")            WORK        work-published
#   SEED, DATA, SOUNDS, SOUND_LABELS: see common.sh
set -euo pipefail
WORK=${WORK:-work-published}
source "$(dirname "$0")/common.sh"

PUBLISHED=${PUBLISHED:-} SHA256=${SHA256:-} LIST=${LIST:-balanced} RULES=${RULES:-}
SCALE=${SCALE:-$([ -n "$PUBLISHED" ] && echo full || echo tiny)}
one_of SCALE tiny full
one_of LIST balanced full
file PUBLISHED
matching SHA256 '[0-9a-fA-F]{64}' "a checksum of 64 digits"
words RULES 'mean|median|[0-9]{1,2}(\.[0-9]{1,3})?p|0\.[0-9]{1,6}' "a threshold such as mean, 25p or 0.5"
rules=("${words[@]}")
[ ${#rules[@]} -gt 0 ] || rules=(mean 25p)
case $SCALE in
tiny) scenes=48 balanced=16 validation=4 evaluation=16 lanes=2 ;;
full) scenes=20000 balanced=4000 validation=500 evaluation=2000 lanes=1
      [ -n "$PUBLISHED" ] || refuse "PUBLISHED=FILE: give the downloaded weights" ;;
esac
begin RECIPE SCALE SEED PUBLISHED LIST DATA SOUNDS SOUND_LABELS -- RULES
make_corpus
list=$balanced_list
[ "$LIST" = balanced ] || list=$WORK/labels.csv

if [ -z "$PUBLISHED" ]; then
    PUBLISHED=$WORK/random_weights.pt
    made random_weights.pt random_weights.py --seed "$SEED" --out "$PUBLISHED"
fi
made runs/teacher train import "$(as_path "$PUBLISHED")" --out "$WORK/runs/teacher" ${SHA256:+--sha256 "$SHA256"}
step scores.h5 score --list "$list" --threads "$threads"
for rule in "${rules[@]}"; do
    step "enhanced-$rule" enhance --labels "$list" --threshold "$rule"
done
step enhanced-psla-mean enhance --labels "$list" --threshold mean --profile psla

releases=("${rules[@]}" psla-mean)
finish --train-labels "$list"
echo "a student of its 2 s answers: python -m pseudolabel.train --work $WORK --row psl_2s --targets $WORK/scores.h5" \
    "--window 2s --list $list"
