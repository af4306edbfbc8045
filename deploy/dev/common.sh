# shellcheck shell=bash
# Shared by all parts of ./dev: messages, settings, paths. Works with bash 3.2, which macOS still ships. `root` is the
# project's folder, set by ./dev.

# Progress goes to stderr, so that a command whose answer is a value (token, psql) prints only that value.
say() { printf '%s\n' "$*" >&2; }
warn() { printf 'dev: %s\n' "$*" >&2; }
# die CODE TEXT: exits with 1 for a failure, 64 for wrong usage or a wrong setting.
die() {
    local code=$1
    shift
    warn "$*"
    exit "$code"
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
is_macos() { [ "$(uname -s)" = Darwin ]; }

# Prints twelve characters that stand for a text in a file name.
short_hash() { printf '%s' "$1" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-12; }

# random_hex BYTES
random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# process_args PID: prints the command line of a process, or nothing if it does not run. A small Linux has /proc, but
# no ps. A zombie process (in containers whose first process never reaps) has no command line there.
process_args() {
    if [ -d /proc/self ]; then
        { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true
    else
        ps -p "$1" -o args= 2>/dev/null || true
    fi
}
process_runs() { [ -n "$(process_args "$1")" ]; }

# read_pid FILE: prints the process id in a file, or nothing.
read_pid() {
    local pid=''
    if [ -f "$1" ]; then read -r pid _ <"$1" || true; fi
    case $pid in '' | *[!0-9]*) ;; *) printf '%s' "$pid" ;; esac
}

# wait_gone PID SECONDS
wait_gone() {
    local tenths=$(($2 * 10))
    while process_runs "$1"; do
        [ "$tenths" -gt 0 ] || return 1
        tenths=$((tenths - 1))
        sleep 0.1
    done
}

# interruptible COMMAND…: runs a long command in a process group of its own. A shell that waits for a plain command
# handles no signal until that command ends; this function waits in a way that can be interrupted, and end_child ends
# the group.
child_pid=''
interruptible() {
    local status=0
    set -m
    "$@" </dev/null &
    child_pid=$!
    set +m
    wait "$child_pid" || status=$?
    child_pid=''
    return "$status"
}
end_child() {
    [ -n "$child_pid" ] || return 0
    kill -TERM -- "-$child_pid" 2>/dev/null || true
    wait "$child_pid" 2>/dev/null || true
    child_pid=''
}

# in_root COMMAND…: runs a command in the project's folder, because cargo looks for its configuration from the working
# folder.
in_root() { cd "$root" && "$@"; }

# Adds folders that an earlier sudo or an installer put outside PATH.
extend_path() {
    local folder
    for folder in "${CARGO_HOME:-$HOME/.cargo}/bin" /opt/homebrew/bin /usr/local/bin; do
        case ":$PATH:" in *":$folder:"*) ;; *) [ -d "$folder" ] && PATH="$PATH:$folder" ;; esac
    done
    export PATH
}

# Sets every setting that is not set to its default.
load_settings() {
    : "${HOME:=/}"
    COMMUNAL_GATEWAY_ADDR=${COMMUNAL_GATEWAY_ADDR:-127.0.0.1:8080}
    COMMUNAL_BILLING_ADDR=${COMMUNAL_BILLING_ADDR:-127.0.0.1:50051}
    COMMUNAL_COMMUNITY_ADDR=${COMMUNAL_COMMUNITY_ADDR:-127.0.0.1:50052}
    COMMUNAL_GATEWAY_ADMIN_ADDR=${COMMUNAL_GATEWAY_ADMIN_ADDR:-127.0.0.1:9080}
    COMMUNAL_BILLING_ADMIN_ADDR=${COMMUNAL_BILLING_ADMIN_ADDR:-127.0.0.1:9051}
    COMMUNAL_COMMUNITY_ADMIN_ADDR=${COMMUNAL_COMMUNITY_ADMIN_ADDR:-127.0.0.1:9052}
    COMMUNAL_BILLING_IDENTITY_ADDR=${COMMUNAL_BILLING_IDENTITY_ADDR:-127.0.0.1:50061}
    COMMUNAL_COMMUNITY_IDENTITY_ADDR=${COMMUNAL_COMMUNITY_IDENTITY_ADDR:-127.0.0.1:50062}
    COMMUNAL_HOME=${COMMUNAL_HOME:-$root/.communal}
    case $COMMUNAL_HOME in /*) ;; *) COMMUNAL_HOME=$PWD/$COMMUNAL_HOME ;; esac
    run_dir=$COMMUNAL_HOME/run
    # The server's own variables would lead psql or the services to another database.
    unset PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGDATABASE PGOPTIONS PGSERVICE PGSERVICEFILE PGDATA PGSSLMODE PGAPPNAME
    extend_path
}

make_home() {
    if [ ! -d "$COMMUNAL_HOME" ]; then
        mkdir -p "$COMMUNAL_HOME" || die 1 "cannot create $COMMUNAL_HOME (COMMUNAL_HOME)"
        # Keeps the folder out of git, wherever it is.
        printf '*\n' >"$COMMUNAL_HOME/.gitignore"
    fi
    mkdir -p "$run_dir" 2>/dev/null && [ -w "$run_dir" ] ||
        die 1 "$COMMUNAL_HOME belongs to another user: run ./dev as that user, or set COMMUNAL_HOME"
}

# Prints the folder that cargo builds into, which a user's own cargo configuration can change.
target_dir() {
    (in_root cargo metadata --no-deps --format-version 1) | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
