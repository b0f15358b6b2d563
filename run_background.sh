#!/usr/bin/env bash
# Sets up if needed, then starts run_all_experiments.py in the background; see ./run_background.sh --help.
set -euo pipefail

here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
python=$here/venv/bin/python
runner=$here/run_all_experiments.py
pid_file=$here/experiments.pid
started_file=$here/experiments.started

fail() { printf 'run_background: %s\n' "$*" >&2; exit 2; }

show_help() {
    cat << 'END'
usage: ./run_background.sh [options]

Sets up if needed, then runs the study in the background, detached from the terminal, with a log
experiments_<time>.log and the process id in experiments.pid beside this script. One run at a time.
Running the same command again continues: what is done is kept. --dry-run, --verify and --reproduce run in the
foreground and start nothing.
END
    if [[ -x $python ]]; then
        printf '\nOptions are those of the runner:\n\n'
        "$python" "$runner" --help
    else
        printf '\nThe options are shown here once ./setup.sh has been run.\n'
    fi
}

# The lock belongs to descriptor 9, which the run inherits: it is held exactly as long as the run lives and
# never outlives it, so no process id has to be trusted. Taken in Python because macOS has no flock command.
lock_or_refuse() {
    exec 9>> "$here/experiments.lock"
    if "$python" -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(1)
except OSError:
    pass  # a file system without locks
'; then return; fi
    local pid
    pid=$(cat "$pid_file" 2> /dev/null) || fail 'another run is just being started in this folder'
    fail "already running (process $pid); stop it with: kill $pid"
}

# A wrong option is reported here, in the foreground, rather than in a log.
check_options() {
    local complaint option others=()
    for option in "$@"; do
        if [[ $option != --analyze ]]; then others+=("$option"); fi # which excludes --dry-run, and is added anyway
    done
    if ! complaint=$("$python" "$runner" --dry-run ${others[@]+"${others[@]}"} 2>&1 > /dev/null); then
        printf '%s\n' "$complaint" >&2
        exit 2
    fi
}

# The runner is a child of a small shell that outlives it and removes the pid file; the id in the file is
# the runner's own, so that kill reaches it.
start_detached() {
    local detach=nohup # macOS has no setsid
    if command -v setsid > /dev/null; then detach=setsid; fi
    # shellcheck disable=SC2016  # expanded by the inner shell
    "$detach" bash -c '
        pid_file=$1 started_file=$2; shift 2
        "$@" &
        printf "%s\n" "$!" > "$pid_file"
        wait "$!" && status=0 || status=$?
        rm -f "$pid_file" "$started_file"
        exit "$status"
    ' run_background "$pid_file" "$started_file" \
        "$python" -u "$runner" --analyze --started-file "$started_file" "$@" >> "$log" 2>&1 < /dev/null &
    keeper=$!
}

# Waits until the runner says, by a file, that its folders, corpus and scheduler can be used and training begins.
report_start() {
    local pid='' status=0
    until pid=$(cat "$started_file" 2> /dev/null) && [[ -n $pid ]]; do
        if ! kill -0 "$keeper" 2> /dev/null; then
            wait "$keeper" || status=$?
            if ((status)); then
                printf 'run_background: the run failed at once; the end of %s:\n' "$log" >&2
                tail -n 20 "$log" >&2
            else
                printf 'The run has ended already; see %s\n' "$log"
            fi
            exit "$status"
        fi
        sleep 0.1
    done
    printf 'Started process %s in the background.\n' "$pid"
    printf '  follow  tail -f %q\n' "$log"
    printf '  stop    kill %s    (what is done is saved; the same command continues)\n' "$pid"
}

for option in "$@"; do
    case $option in -h | --help) show_help; exit ;; esac
done
bash "$here/setup.sh" --quiet
for option in "$@"; do
    case $option in --dry-run | --verify | --reproduce) exec "$python" "$runner" "$@" ;; esac
done
lock_or_refuse
rm -f "$pid_file" "$started_file" # of a run that was killed together with its keeper
check_options "$@"
log=$here/experiments_$(date +%Y%m%d_%H%M%S).log
start_detached "$@"
report_start
