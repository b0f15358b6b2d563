#!/usr/bin/env bash
# Sets up if needed, then lints and tests.
#
#   usage: ./run_tests.sh [pytest options]
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
bash setup.sh --quiet
venv/bin/python -m ruff check .
exec venv/bin/python -m pytest "$@"
