#!/usr/bin/env bash
# A real teacher on real recordings: how many dropped labels come back, and how many wrong ones come with them.
#
#   DATA=../shared/data/desed bash recipes/desed_teacher.sh      # seconds, after the installation
#
# DATA holds what a mean-teacher system answered to the 581 clips of DESED's validation set, frame by frame, and the
# events that people marked there. A validation set is no training set: hence --out-of-fold. Its answers go through
# `score import`, the way in for any published model: an array and the names of its rows and columns are enough.
#
#   classes     DESED's ten and three parents of our own: Animals, Kitchen, Domestic machines (Speech stands alone)
#   scores      of a clip: the mean, or the maximum, of its frames; of a parent: the maximum of its children's
#   truth       a clip has a class where any of its frames has; and that class's parent
#   children    three in ten labels below a parent are dropped, the parent stays: Type I brings them back
#   parents     three in ten parents are dropped, the children stay: Type II brings them back
#   events      three in ten events are dropped, with their parents: only one whose sibling was kept can come back
#
#   WORK        folder of everything it makes (work-desed); made again at every run
set -euo pipefail
WORK=${WORK:-work-desed}
source "$(dirname "$0")/common.sh"

[ -n "$DATA" ] || refuse "DATA=FOLDER: give the folder of DESED's teacher"
lanes=1
claim RECIPE DATA
check_steps
keep_settings

verb() { always "$1" --work "$WORK" --overwrite "${@:2}"; }

always desed_teacher.py unpack "$DATA" "$WORK"
for pool in mean max; do
    verb score import "$WORK/predictions-$pool.npy" --ids "$WORK/ids.txt" --classes "$WORK/classes.txt" \
        --name "DESED mean teacher, $pool over frames" --out-of-fold --out "$WORK/scores-$pool.h5"
done

# One cell of the table below, by hand: the labels without three in ten children, enhanced, and judged by the truth.
verb enhance --labels "$WORK/labels-children.csv" --scores "$WORK/scores-max.h5" --ontology "$WORK/ontology.csv" \
    --threshold 25p --out "$WORK/enhanced-children"
verb evaluate --scores "$WORK/scores-mean.h5" "$WORK/scores-max.h5" --labels "$WORK/labels-children.csv" \
    --enhanced "$WORK/enhanced-children" --train-labels "$WORK/labels-children.csv" --ontology "$WORK/ontology.csv"

# All cells: mean and standard deviation over five drawings of what is dropped.
#   proposable   dropped labels that a remaining label proposes          candidates   all that is proposed
#   recall_proposable, recall   of the proposable, of all dropped labels
always desed_teacher.py table "$WORK"
printf 'took %d s; the table: %s and .txt\n' "$SECONDS" "$WORK/recovered.csv"
