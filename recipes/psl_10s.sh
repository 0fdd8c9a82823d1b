#!/usr/bin/env bash
# PSL-10s: students of the teacher's soft answers to windows of 10 s, beside students of the weak labels; all of them
# tested on whole clips, and on pieces of 10, 5 and 2 s. (PSL: Dinkel et al. 2022; mAP on AudioSet's balanced list: weak
# 17.69, 10 s 31.13, 5 s 34.11, 2 s 35.48. Their annotator had seen all 1.9 M clips.)
#
#   bash recipes/psl_10s.sh                              SCALE=demo: synthesised sounds, about 6 minutes on two cores
#   SCALE=tiny STUDENT=ast_tiny bash recipes/psl_10s.sh  does it run? a minute
#   SCALE=paper DATA=audioset bash recipes/psl_10s.sh    their settings: for a GPU
#
# The run is that of psl_2s.sh, whose head explains the settings; only the rows differ, and WORK (work-psl-10s).
set -euo pipefail
export WORK=${WORK:-work-psl-10s} ROWS=${ROWS:-weak psl_10s} LENGTHS=${LENGTHS:-10s 5s 2s}
exec bash "$(dirname "$0")/psl_2s.sh" "$@"
