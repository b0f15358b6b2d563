#!/usr/bin/env bash
# Makes venv/ beside this script, installs requirements.txt into it and downloads the corpus.
# Safe to run again: what is done is kept, what was interrupted is repaired.
#
#   ./setup.sh                             set up
#   ./setup.sh --quiet                     the same, silent when there is nothing to do
#   PYTHON=/path/to/python3 ./setup.sh     set up with a Python of your choice
set -euo pipefail

here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
venv=$here/venv
# The folder and the requirements that venv/ was made for. Written as a draft before the installation
# and renamed after it, so that the stamp means done and a draft means interrupted.
stamp=$venv/installed.txt
draft=$stamp.part

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 2; }

choose_python() {
    local candidate candidates=(python3.13 python3.12 python3.11 python3) without_venv=''
    if [[ -n ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || continue
        if "$candidate" -c 'import ensurepip, venv' 2> /dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        without_venv=$candidate
    done
    if [[ -n $without_venv ]]; then
        fail "$without_venv has no venv module; install it (Debian, Ubuntu: sudo apt install python3-venv) and run ./setup.sh again"
    fi
    local version
    version=$("$candidate" --version 2> /dev/null) || version='not found or not working'
    fail "Python 3.11 or newer is needed ($candidate: $version); install one, or name it: PYTHON=/path/to/python3 ./setup.sh"
}

# Two set-ups at once would damage each other's venv/. The lock belongs to this shell's descriptor 9 and
# ends with it, however it ends. Taken in Python because macOS has no flock command.
wait_for_other_setup() {
    exec 9>> "$here/.setup.lock"
    "$1" -c '
import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("setup: another setup.sh is running; waiting for it to end", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    pass  # a file system without locks
'
}

venv_works() { "$venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }

# A moved venv still runs, but its scripts (activate, jupyter) point to the old folder.
venv_is_elsewhere() { [[ -e $stamp && $(head -n 1 "$stamp") != "$here" ]]; }

make_stamp() { printf '%s\n' "$here" | cat - "$here/requirements.txt"; }

make_venv() {
    local python
    python=$(choose_python)
    if [[ -e $venv ]]; then
        say 'venv/ is unfinished, broken or was moved here: making a new one'
        rm -rf "$venv.old"
        mv "$venv" "$venv.old" # renamed first, so that an interrupted removal leaves no incomplete venv/
        rm -rf "$venv.old"
    fi
    say "making venv/ with $("$python" --version)"
    mkdir "$venv"
    make_stamp > "$draft"
    "$python" -m venv "$venv" || fail "could not make venv/ (see above); run ./setup.sh again"
}

install_requirements() {
    local noise=--quiet
    if [[ -t 1 ]]; then noise=--progress-bar=on; fi
    say 'installing requirements.txt into venv/ (some minutes; PyTorch is large)'
    make_stamp > "$draft"
    "$venv/bin/python" -m pip install --disable-pip-version-check "$noise" -r "$here/requirements.txt" ||
        fail "pip could not install requirements.txt (see above); check the network and run ./setup.sh again"
    mv "$draft" "$stamp"
}

# Prints the lines at the top.
show_help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

quiet=''
if [[ ${1:-} == -h || ${1:-} == --help ]]; then show_help; exit; fi
if [[ ${1:-} == --quiet ]]; then quiet=--quiet; shift; fi
if (($#)); then fail "unknown option $1; usage: [PYTHON=/path/to/python3] ./setup.sh [--quiet]"; fi
if [[ ! -w $here ]]; then fail "cannot write to $here"; fi

if venv_works; then wait_for_other_setup "$venv/bin/python"; else
    python=$(choose_python)
    wait_for_other_setup "$python"
fi
if [[ -e $draft ]] || venv_is_elsewhere || ! venv_works; then make_venv; fi
if ! make_stamp | cmp -s - "$stamp"; then
    install_requirements
elif [[ -z $quiet ]]; then
    say 'venv/ is up to date'
fi
(cd -- "$here" && "$venv/bin/python" -m study.corpus ${quiet:+"$quiet"})

if [[ -z $quiet ]]; then
    cat << 'END'
Ready. Next:
    ./run_background.sh --help        what can be trained, and how
    ./run_background.sh               train the whole study in the background
    source venv/bin/activate          (optional) use this Python in your shell
END
fi
