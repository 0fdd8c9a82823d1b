# Sourced by every recipe: finds a Python that runs this checkout, or makes .venv and installs it. Sets $root, $python.
# Packages are the only thing that is ever downloaded: about 2 minutes and 6 GB, once.
# shellcheck shell=bash

root=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "${extras:-}" = '[test]' ] || extras=               # test.sh asks for [test]
if [ -n "${PYTHON:-}" ] && ! command -v -- "$PYTHON" >/dev/null; then
    echo "PYTHON=$(printf %q "$PYTHON"): not a program that is there" >&2; exit 2
fi
case ${PYTHON:-} in /*) ;; */*) PYTHON=$PWD/$PYTHON ;; esac

# True when $1 can run the package of this checkout with all that $extras names (reads versions, imports nothing slow).
can_run() {
    (cd / && "$1" - "$root" "$extras") >/dev/null 2>&1 <<'PYTHON'
import pathlib, re, sys
from importlib.metadata import requires, version
import pseudolabel
root, extras = sys.argv[1:]
assert pathlib.Path(pseudolabel.__file__).resolve().is_relative_to(root)
for line in requires("pseudolabel"):
    extra = re.search(r"extra == ['\"](\w+)['\"]", line)
    if extra is None or extra[1] in extras:
        version(re.match(r"[\w.-]+", line)[0])
PYTHON
}

for python in "${PYTHON:-}" "$root/.venv/bin/python" python3; do
    [ -n "$python" ] && command -v -- "$python" >/dev/null && can_run "$python" && break
    python=
done
if [ -z "$python" ]; then
    base=$(command -v -- "${PYTHON:-python3}") || { echo "no python3 found: install Python 3.11 or newer" >&2; exit 2; }
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "$base is older than Python 3.11: set PYTHON to a newer one" >&2; exit 2; }
    if [ -L "$root/.venv" ]; then
        echo "$root/.venv is a link, into which nothing is installed: set PYTHON to a Python that has this package, or" \
            "remove the link" >&2; exit 2
    fi
    echo "installing into $root/.venv (about 2 minutes, 6 GB, once)"
    [ -x "$root/.venv/bin/python" ] || "$base" -P -m venv "$root/.venv"
    python=$root/.venv/bin/python
    "$python" -P -m pip install --quiet --disable-pip-version-check --editable "$root$extras"
    can_run "$python" || { echo "the package was installed but does not run: see the lines above" >&2; exit 1; }
fi
