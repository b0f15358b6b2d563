#!/usr/bin/env bash
# Sets up if needed, then lints, checks types and tests.
#
#   usage: ./run_tests.sh [pytest options]        such as -x, or tests/test_metrics.py
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}"; exit ;; esac
bash setup.sh --quiet
# The tests of --scheduler need it; who only trains does not.
venv/bin/python -c 'import distributed' 2> /dev/null ||
    venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-cluster.txt
venv/bin/python -m ruff check .
venv/bin/python -m ruff format --check --quiet .
venv/bin/python -m mypy
# A process on each core, so one thread for each.
export OMP_NUM_THREADS=1
exec venv/bin/python -m pytest --numprocesses logical --dist worksteal "$@"
