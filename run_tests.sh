#!/usr/bin/env bash
# Sets up if needed, then lints and tests.
#
#   usage: ./run_tests.sh [pytest options]
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
bash setup.sh --quiet
# The tests of --scheduler need it; who only trains does not.
venv/bin/python -c 'import distributed' 2> /dev/null ||
    venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-cluster.txt
venv/bin/python -m ruff check .
exec venv/bin/python -m pytest --numprocesses logical --dist loadfile "$@"
