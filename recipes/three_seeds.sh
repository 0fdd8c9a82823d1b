#!/usr/bin/env bash
# The reference run on three corpora (seeds 0, 1, 2: other scenes, other slips of the annotator, other models), with all
# windows, and one table over them: about 10 minutes a corpus on two cores at the default SCALE=demo.
#
#   bash recipes/three_seeds.sh                                     synthesised sounds
#   SOUNDS=FOLDER SOUND_LABELS=CSV WORK=work-esc bash recipes/three_seeds.sh
#
# Corpora lie in WORK-seed0, WORK-seed1, WORK-seed2; the table in WORK-seeds.md. Settings as in psl_2s.sh; SEED is set.
set -euo pipefail
source "$(dirname "$0")/common.sh"

export ROWS=${ROWS:-weak enhanced psl_10s psl_5s psl_2s true}
works=()
if [ "$mode" != plan ]; then
    bash "$0" --plan 3>/dev/null >/dev/null             # settings are checked before anything is installed
    source "$(dirname "$0")/setup.sh"
fi
check_steps
for seed in 0 1 2; do
    recipe psl_2s SEED="$seed" WORK="$WORK-seed$seed"
    works+=("$WORK-seed$seed")
done
[ "$mode" != plan ] || { always evaluate combine "${works[@]}"; exit; }
made=$(mktemp -d)
trap 'rm -rf -- "$made"' EXIT
always evaluate combine "${works[@]}" --out "$made/seeds.md"
[ ! -e "$WORK-seeds.md" ] || cmp -s -- "$made/seeds.md" "$WORK-seeds.md" ||
    refuse "$WORK-seeds.md: not the table of these runs. Remove it, or give another WORK."
cp -- "$made/seeds.md" "$WORK-seeds.md"
