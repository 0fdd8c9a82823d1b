#!/usr/bin/env bash
# The reference run on three corpora (seeds 0, 1, 2: other scenes, other slips of the annotator, other models), with all
# windows, and one table over them: about 10 minutes a corpus on two cores at the default SCALE=demo.
#
#   bash recipes/three_seeds.sh                                     synthesised sounds
#   SOUNDS=FOLDER SOUND_LABELS=CSV WORK=work-esc bash recipes/three_seeds.sh
#
# Corpora lie in WORK-seed0, WORK-seed1, WORK-seed2; the table in WORK-seeds.md. Settings as in psl_2s.sh.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

WORK=${WORK:-work}
export ROWS=${ROWS:-weak enhanced psl_10s psl_5s psl_2s true}
works=()
for seed in 0 1 2; do
    SEED=$seed WORK=$WORK-seed$seed bash "$root/recipes/psl_2s.sh"
    works+=("$WORK-seed$seed")
done
"$python" -m pseudolabel.evaluate --combine "${works[@]}" --out "$WORK-seeds.md" --overwrite
