#!/usr/bin/env bash
# Run the tests with the oldest, the CI's and the newest JAX, on Python 3.11 to 3.13, and print the
# table that docs/stream.md keeps. It makes one environment for each row.
#
#   tests/versions.sh                                # everything; a row takes five minutes on one core
#   tests/versions.sh tests/random tests/schemes     # only these tests
#   ROWS="3.13:newest" tests/versions.sh             # only this row
#   FOLDER=/tmp/versions tests/versions.sh           # where the environments are made and kept
#   WORKERS=0 tests/versions.sh                      # in one process; without it in two
#
# The interpreters come from PATH, from pyenv, or from uv.
set -euo pipefail
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1

FOLDER=${FOLDER:-$(mktemp -d)}
WORKERS=${WORKERS:-2}
ROWS=${ROWS:-"3.11:0.10.0 3.11:0.10.2 3.12:0.10.2 3.12:newest 3.13:newest"}
if [ $# -eq 0 ]; then set -- tests; fi

interpreter() { # the path of Python $1
  local found
  for found in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if [ -n "$found" ] && "$found" -c "import venv" 2>/dev/null; then
      echo "$found"
      return
    fi
  done
  uv python find "$1" 2>/dev/null || { echo "versions.sh: found no Python $1" >&2; return 1; }
}

# CPU seconds of the first call of an asymmetric truncation (see docs/notes).
compile='
import time, jax, jaxinit
from jaxinit import initializers
key = jax.random.key(0)
jaxinit.uniform(key, (8, 8)).block_until_ready()
start = time.process_time()
initializers.truncated_normal(lower=5.0, upper=7.0)(key, (64, 64)).block_until_ready()
print(f"{time.process_time() - start:.1f}")
'
versions='
import platform, jax, jaxlib, flax, numpy
print(platform.python_version(), jax.__version__, jaxlib.__version__, flax.__version__, numpy.__version__, sep=" | ")
'

table="| Python | JAX | jaxlib | Flax | NumPy | tests | result | truncation to [5, 7] |
|---|---|---|---|---|---|---|---|"
failed=0
for row in $ROWS; do
  python=${row%%:*} jax=${row##*:}
  venv=$FOLDER/py$python-jax$jax
  pins=()
  if [ "$jax" != newest ]; then pins=("jax==$jax" "jaxlib==$jax"); fi
  if [ ! -x "$venv/bin/python" ]; then "$(interpreter "$python")" -m venv "$venv"; fi
  "$venv/bin/pip" install -q --upgrade -e ".[test]" "${pins[@]}"
  if "$venv/bin/python" -m pytest -q -n "$WORKERS" -p no:cacheprovider "$@" | tee "$venv/tests.log"; then :; else failed=1; fi
  result=$(tail -1 "$venv/tests.log" | sed 's/ in .*//; s/=//g')
  table+="
| $("$venv/bin/python" -c "$versions") | \`$*\` | $result | $("$venv/bin/python" -c "$compile") |"
done
echo
echo "$table"
exit $failed
