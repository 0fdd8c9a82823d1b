#!/usr/bin/env bash
# Sets up what is missing and runs the tests: `bash recipes/test.sh`, with --slow also those that take minutes.
# Other arguments go to pytest: `bash recipes/test.sh tests/labels -k ontology`.
set -euo pipefail
extras='[test]'
source "$(dirname "$0")/setup.sh"
cd "$root"

marks=(-m "not slow")
if [ "${1:-}" = --slow ]; then marks=(); shift; fi

# One process a core; one thread each, or they fight over the cores.
export OMP_NUM_THREADS=1
exec "$python" -m pytest -q -n auto --dist loadfile "${marks[@]}" "$@"
