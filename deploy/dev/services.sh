# shellcheck shell=bash
# `up` and the commands around it: builds, starts the private PostgreSQL, migrates, loads demo data and runs both
# services and the gateway in one process.

log_file() { printf '%s/communal.log' "$run_dir"; }

# Prints the id of the serving process, if it runs: the recorded number may belong to another program by now.
serving_pid() {
    local pid
    pid=$(read_pid "$run_dir/communal.pid")
    [ -n "$pid" ] || return 0
    case $(process_args "$pid") in *communal*serve*) printf '%s' "$pid" ;; esac
}

# Prints the id of the running ./dev up, if any: building, starting, or waiting in the foreground.
up_pid() {
    local pid
    pid=$(read_pid "$run_dir/up.lock/pid")
    [ -n "$pid" ] || return 0
    case $(process_args "$pid") in *dev*up*) printf '%s' "$pid" ;; esac
}

uses_private_server() { [ -z "${COMMUNAL_BILLING_DATABASE_URL:-}" ] || [ -z "${COMMUNAL_COMMUNITY_DATABASE_URL:-}" ]; }

# Sets the environment of the processes, and only theirs: psql and tests must not see it.
export_settings() {
    export COMMUNAL_GATEWAY_ADDR COMMUNAL_BILLING_ADDR COMMUNAL_COMMUNITY_ADDR
    export COMMUNAL_GATEWAY_ADMIN_ADDR COMMUNAL_BILLING_ADMIN_ADDR COMMUNAL_COMMUNITY_ADMIN_ADDR
    export COMMUNAL_BILLING_IDENTITY_ADDR COMMUNAL_COMMUNITY_IDENTITY_ADDR
    export COMMUNAL_GATEWAY_BILLING_URL="${COMMUNAL_GATEWAY_BILLING_URL:-http://$(reachable "$COMMUNAL_BILLING_ADDR")}"
    export COMMUNAL_GATEWAY_COMMUNITY_URL="${COMMUNAL_GATEWAY_COMMUNITY_URL:-http://$(reachable "$COMMUNAL_COMMUNITY_ADDR")}"
    [ ! -f "$(clock_file)" ] || export COMMUNAL_SANDBOX_CLOCK="${COMMUNAL_SANDBOX_CLOCK:-$(clock_file)}"
    export COMMUNAL_LOG_FORMAT="${COMMUNAL_LOG_FORMAT:-pretty}"
    # A database of the private server has two roles: its owner migrates and loads, the other one serves.
    billing_owner_url=${COMMUNAL_BILLING_DATABASE_URL:-$(database_url "$pg_socket" billing billing)}
    community_owner_url=${COMMUNAL_COMMUNITY_DATABASE_URL:-$(database_url "$pg_socket" community community)}
    export COMMUNAL_BILLING_DATABASE_URL="${COMMUNAL_BILLING_DATABASE_URL:-$(database_url "$pg_socket" billing_server billing)}"
    export COMMUNAL_COMMUNITY_DATABASE_URL="${COMMUNAL_COMMUNITY_DATABASE_URL:-$(database_url "$pg_socket" community_server community)}"
    load_secrets
}

# reachable ADDRESS: prints the address at which a client on this machine reaches a server that listens on it.
reachable() {
    case $1 in
    0.0.0.0:*) printf '127.0.0.1:%s' "${1##*:}" ;;
    '[::]':*) printf '[::1]:%s' "${1##*:}" ;;
    *) printf '%s' "$1" ;;
    esac
}

# Generates keys that must stay the same from start to start, once; a key in the environment overrides them.
load_secrets() {
    local file=$COMMUNAL_HOME/secrets.env name value
    if [ ! -f "$file" ]; then
        (
            umask 077
            {
                printf 'COMMUNAL_TOKEN_KEY=%s\n' "$(random_hex 32)"
                printf 'COMMUNAL_SEALING_KEY=%s\n' "$(random_hex 32)"
            } >"$file.new"
            mv "$file.new" "$file"
        )
    fi
    while IFS='=' read -r name value; do
        case $name in
        COMMUNAL_TOKEN_KEY) export COMMUNAL_TOKEN_KEY="${COMMUNAL_TOKEN_KEY:-$value}" ;;
        COMMUNAL_SEALING_KEY) export COMMUNAL_SEALING_KEY="${COMMUNAL_SEALING_KEY:-$value}" ;;
        esac
    done <"$file"
}

# Prints every address that will be listened on, with its setting.
each_address() {
    local name
    for name in GATEWAY BILLING COMMUNITY GATEWAY_ADMIN BILLING_ADMIN COMMUNITY_ADMIN BILLING_IDENTITY COMMUNITY_IDENTITY; do
        eval "printf '%s %s\n' COMMUNAL_${name}_ADDR \"\$COMMUNAL_${name}_ADDR\""
    done
}

# Finds a taken port before minutes of building, not after them.
check_ports() {
    local name address host port busy='' seen=' '
    while read -r name address; do
        host=${address%:*}
        port=${address##*:}
        case $port in '' | *[!0-9]*) die 64 "$name=$address is not an address like 127.0.0.1:8080" ;; esac
        case $seen in *" $port "*) die 64 "$name=$address: another of the addresses has this port already" ;; esac
        seen="$seen$port "
        host=$(reachable "$host:$port")
        host=${host%:*}
        host=${host#[}
        host=${host%]}
        # shellcheck disable=SC2188 # opening the connection is the question
        if (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; then
            busy="$busy
  port $port on $host is taken by another program: stop it, or set $name to another address ($name=$address now)"
        fi
    done <<LIST
$(each_address)
LIST
    [ -z "$busy" ] || die 1 "cannot start:$busy"
}

profile_folder() { case ${COMMUNAL_PROFILE:-dev} in dev) echo debug ;; *) echo release ;; esac; }

build() {
    local profile=${COMMUNAL_PROFILE:-dev}
    case $profile in release | dev) ;; *) die 64 "COMMUNAL_PROFILE=$profile: it is dev or release" ;; esac
    say "Building ($profile; the first time takes some minutes) …"
    interruptible in_root cargo build --profile "$profile" --locked \
        -p communal-standalone -p communal-billing -p communal-community || die 1 "the build failed"
    find_programs
}

# Sets programs, the folder of the built binaries.
find_programs() {
    programs=$(target_dir)/$(profile_folder)
    [ -x "$programs/communal" ] && [ -x "$programs/billing" ] && [ -x "$programs/community" ]
}

# Creates the private server if there is none, starts it if it does not run, and creates missing roles and databases.
start_private_server() {
    local major=''
    if as_owner test -f "$pg_data/PG_VERSION" 2>/dev/null; then
        major=$(as_owner cat "$pg_data/PG_VERSION")
        find_postgres "$major" ||
            die 1 "the data in $pg_dir was written by PostgreSQL $major, which is not installed any more: install it, or ./dev reset to start anew"
    else
        create_private_server
    fi
    if server_runs "$pg_data" && server_answers "$pg_socket"; then
        return 0
    fi
    say "Starting PostgreSQL $(pg_major "$pg_bin") ($pg_dir) …"
    start_server "$pg_data" "$pg_socket" "$pg_log" max_connections=200 shared_buffers=256MB max_wal_size=2GB \
        log_min_duration_statement=1000 log_error_verbosity=terse || die 1 "no database, nothing to serve from"
    server_started=yes
}

create_private_server() {
    say "Creating a private PostgreSQL $(pg_major "$pg_bin") in $pg_dir (owner: $server_owner) …"
    if [ "$pg_dir" != "$COMMUNAL_HOME/postgres" ]; then
        say "  (not under $COMMUNAL_HOME, which $server_owner may not enter; a link there points to it)"
        mkdir -p "${pg_dir%/*/*}"
        chmod 755 "${pg_dir%/*/*}"
        mkdir -p "${pg_dir%/*}"
        chmod 755 "${pg_dir%/*}"
        ln -sfn "$pg_dir" "$COMMUNAL_HOME/postgres"
    fi
    mkdir -p "$pg_dir"
    own "$pg_dir"
    # Created under another name and renamed, so that an interrupted creation is never mistaken for a complete server.
    as_owner rm -rf "$pg_data.new"
    init_server "$pg_data.new" || die 1 "PostgreSQL could not be initialised"
    as_owner mv "$pg_data.new" "$pg_data"
}

# Creates one database and two roles for each service, the owner and the one that serves; no service can reach the
# other's.
create_databases() {
    as_superuser "$pg_socket" postgres --no-align --tuples-only <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', name)
  FROM (VALUES ('billing'), ('community')) AS service(name)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SELECT 'CREATE ROLE communal_server NOLOGIN'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'communal_server') \gexec
SELECT format('CREATE ROLE %I LOGIN IN ROLE communal_server', name || '_server')
  FROM (VALUES ('billing'), ('community')) AS service(name)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name || '_server') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', name, name)
  FROM (VALUES ('billing'), ('community')) AS service(name)
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname)
  FROM pg_database WHERE datname IN ('billing', 'community', 'postgres') \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', name, name || '_server')
  FROM (VALUES ('billing'), ('community')) AS service(name) \gexec
SQL
}

up_command() {
    local detach='' clock=''
    while [ $# -gt 0 ]; do
        case $1 in
        --detach | -d) detach=yes ;;
        --clock)
            clock=${2:-}
            [ -n "$clock" ] || die 64 "--clock wants a time like 2026-01-05T10:00"
            shift
            ;;
        *) die 64 "usage: ./dev up [--detach] [--clock TIME]" ;;
        esac
        shift
    done
    # Found before minutes of building, not after them.
    [ -z "$clock" ] || is_time "$clock" || die 64 "--clock $clock: it is a time like 2026-01-05T10:00 or 2026-01-05"
    [ -z "$clock" ] || [ "${COMMUNAL_DEMO:-1}" = 1 ] || die 64 "--clock is for demo data; COMMUNAL_DEMO is 0"
    case ${COMMUNAL_DEMO:-1} in 0 | 1) ;; *) die 64 "COMMUNAL_DEMO=$COMMUNAL_DEMO: it is 1 (load demo data) or 0 (start empty)" ;; esac
    # Nobody in the demo data has a phone to which a code could be sent.
    [ "${COMMUNAL_DEMO:-1}" = 0 ] || export COMMUNAL_BILLING_VERIFY_CODES="${COMMUNAL_BILLING_VERIFY_CODES:-off}"
    make_home
    claim_up "$clock" || return
    check_ports
    need_curl
    need_compiler
    need_rust
    ! uses_private_server || need_postgres
    locate_server
    build
    [ -z "$clock" ] || start_clock "$clock"
    if uses_private_server; then
        start_private_server
        create_databases
    fi
    export_settings
    prepare_data
    serve "$detach"
}

# is_time TEXT: whether a text is a day, perhaps with a time. Whether the month has the day is left to the program.
is_time() {
    printf '%s' "$1" | grep -qE '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?)?$'
}

# The file of the sandbox clock; there is one once somebody asked for such a clock, and it goes with the data.
clock_file() { printf '%s/sandbox-clock' "$COMMUNAL_HOME"; }

# start_clock TIME: a sandbox without data starts anywhere; one with data never goes back.
start_clock() {
    local how=set
    [ -f "$(clock_file)" ] || as_owner test -f "$pg_data/PG_VERSION" 2>/dev/null || how=start
    COMMUNAL_SANDBOX_CLOCK=$(clock_file) "$programs/communal" clock "$how" "$1" >/dev/null || die 1 "the clock was not set"
}

clock_command() {
    case "${1:-show} $#" in 'show 0' | 'show 1' | 'set 2' | 'advance 2') ;; *) die 64 "usage: ./dev clock [show | set TIME | advance 1mo]" ;; esac
    need_running
    [ -f "$(clock_file)" ] || die 1 "Communal runs by the machine's clock; a sandbox clock begins with ./dev up --clock TIME"
    "$programs/communal" clock "${@:-show}" || exit 1
    # The processes look at the file five times a second; what follows shall find them at the new time.
    [ "${1:-show}" = show ] || sleep 0.5
}

# Allows only one ./dev up at a time. Fails if there is nothing left to do.
claim_up() {
    local pid
    pid=$(serving_pid)
    if [ -n "$pid" ]; then
        # A start that was asked for something else must not look as if it had happened.
        [ -z "${1:-}" ] || die 1 "Communal runs already (process $pid), by another clock: ./dev down first"
        say "Communal runs already (process $pid); ./dev down stops it."
        print_addresses
        exit 0
    fi
    if ! mkdir "$run_dir/up.lock" 2>/dev/null; then
        # The other one may have made the lock and not written its id yet.
        [ -f "$run_dir/up.lock/pid" ] || sleep 1
        pid=$(up_pid)
        [ -z "$pid" ] || die 1 "another ./dev up (process $pid) is starting already; ./dev down ends it"
        rm -rf "$run_dir/up.lock"
        mkdir "$run_dir/up.lock"
    fi
    echo $$ >"$run_dir/up.lock/pid"
    server_started=''
    service_pid=''
    leave_running=''
    trap leave_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# Runs at every end of `up`: everything it started ends with it, unless it was asked to detach and all went well.
leave_up() {
    local status=$?
    trap '' INT TERM HUP
    end_child
    if [ -z "$leave_running" ]; then
        [ -z "$service_pid" ] || stop_process "$service_pid"
        rm -f "$run_dir/communal.pid"
        if [ -n "$server_started" ]; then
            say "Stopping PostgreSQL …"
            stop_server "$pg_data" || warn "PostgreSQL did not stop; its log: $pg_log"
        fi
    fi
    rm -rf "$run_dir/up.lock"
    exit "$status"
}

prepare_data() {
    local service
    for service in billing community; do
        say "Bringing $service's database up to date …"
        as_database_owner "$service" migrate >&2 || die 1 "the migrations of $service failed"
        [ "${COMMUNAL_DEMO:-1}" = 1 ] || continue
        as_database_owner "$service" seed --demo >&2 || die 1 "the demo data of $service could not be loaded"
    done
}

# as_database_owner SERVICE COMMAND…
as_database_owner() {
    local service=$1
    shift
    interruptible env COMMUNAL_BILLING_DATABASE_URL="$billing_owner_url" COMMUNAL_COMMUNITY_DATABASE_URL="$community_owner_url" \
        "$programs/$service" "$@"
}

serve() {
    local detach=$1 log status=0
    log=$(log_file)
    # A process group of its own: Ctrl-C reaches only this script, which then stops things in order.
    set -m
    if [ -n "$detach" ]; then
        [ ! -f "$log" ] || mv "$log" "$log.1"
        NO_COLOR=1 nohup "$programs/communal" serve </dev/null >"$log" 2>&1 &
    else
        "$programs/communal" serve </dev/null &
    fi
    service_pid=$!
    set +m
    echo "$service_pid" >"$run_dir/communal.pid"
    # Commands are those of what runs, whatever COMMUNAL_PROFILE they are called with.
    printf '%s\n' "$programs" >"$run_dir/programs"
    if ! wait_ready "$service_pid" 60; then
        if [ -n "$detach" ]; then
            warn "Communal did not become ready; the end of $log:"
            tail -n 30 "$log" >&2
        fi
        die 1 "Communal did not become ready"
    fi
    print_addresses
    print_commands
    if [ -n "$detach" ]; then
        say "It runs in the background: ./dev logs shows what it says, ./dev down stops it."
        leave_running=yes
        return 0
    fi
    say "Ctrl-C stops everything."
    # From here on, a signal to stop is the normal end.
    stopping=''
    trap 'stopping=yes' INT TERM HUP
    wait "$service_pid" || status=$?
    if [ -n "$stopping" ]; then
        stop_process "$service_pid"
        status=0
    elif [ "$status" -ne 0 ]; then
        warn "Communal ended with status $status"
    fi
    service_pid=''
    exit "$status"
}

# stop_process PID: sends SIGTERM, waits for the running calls, and sends SIGKILL in the end.
stop_process() {
    process_runs "$1" || return 0
    say "Stopping Communal …"
    kill -TERM "$1" 2>/dev/null || true
    if ! wait_gone "$1" 45; then
        warn "Communal did not stop within 45 s and is killed"
        kill -KILL "$1" 2>/dev/null || true
        wait_gone "$1" 5 || true
    fi
}

# wait_ready PID SECONDS: waits until every admin port reports readiness.
wait_ready() {
    local tenths=$(($2 * 5)) name address ready
    while [ "$tenths" -gt 0 ]; do
        # A process that was started just now has no command line yet; it is checked a second time.
        process_runs "$1" || { sleep 0.5 && process_runs "$1"; } || return 1
        ready=yes
        while read -r name address; do
            case $name in
            *_ADMIN_ADDR) curl -fsS --noproxy '*' --max-time 2 -o /dev/null "http://$(reachable "$address")/readyz" 2>/dev/null || ready='' ;;
            esac
        done <<LIST
$(each_address)
LIST
        [ -z "$ready" ] || return 0
        tenths=$((tenths - 1))
        sleep 0.2
    done
    return 1
}

print_addresses() {
    [ ! -f "$(clock_file)" ] || ! find_programs ||
        printf 'Sandbox: business time is %s (./dev clock moves it)\n' "$(COMMUNAL_SANDBOX_CLOCK=$(clock_file) "$programs/communal" clock show)"
    cat <<TEXT
Communal listens:
  REST      http://$(reachable "$COMMUNAL_GATEWAY_ADDR")        (documentation: /docs, contract: /openapi.json)
  billing   $(reachable "$COMMUNAL_BILLING_ADDR") (gRPC)
  community $(reachable "$COMMUNAL_COMMUNITY_ADDR") (gRPC)
TEXT
}

down_command() {
    local pid up
    [ $# -eq 0 ] || die 64 "usage: ./dev down"
    locate_server
    up=$(up_pid)
    pid=$(serving_pid)
    if [ -n "$up" ]; then
        # A foreground `up` stops its processes in order.
        kill -TERM "$up" 2>/dev/null || true
        wait_gone "$up" 60 || warn "./dev up (process $up) does not end"
    fi
    [ -z "$pid" ] || stop_process "$pid"
    rm -f "$run_dir/communal.pid"
    if as_owner test -f "$pg_data/PG_VERSION" 2>/dev/null && find_postgres "$(as_owner cat "$pg_data/PG_VERSION")" && server_runs "$pg_data"; then
        say "Stopping PostgreSQL …"
        stop_server "$pg_data" || die 1 "PostgreSQL did not stop; its log: $pg_log"
    fi
    say "Nothing runs any more; the data stays ($COMMUNAL_HOME)."
}

reset_command() {
    local answer
    case ${1:-} in
    --yes | -y) ;;
    '')
        [ -t 0 ] || die 64 "./dev reset removes all data of $COMMUNAL_HOME: say so with --yes"
        printf 'Remove all data of the private PostgreSQL in %s? [y/N] ' "$COMMUNAL_HOME" >&2
        read -r answer
        case $answer in y | Y | yes) ;; *) die 1 "nothing removed" ;; esac
        ;;
    *) die 64 "usage: ./dev reset [--yes]" ;;
    esac
    down_command >/dev/null 2>&1 || die 1 "something does not stop: ./dev down"
    # Removes only a folder that looks like a server's, whatever COMMUNAL_HOME is set to.
    if as_owner test -f "$pg_data/PG_VERSION" 2>/dev/null; then
        rm -rf "$pg_dir"
        case $pg_socket in /tmp/communal-*) rm -rf "$pg_socket" ;; esac
        case $pg_dir in "$(outside_dir)"/*) rmdir "$(outside_dir)" 2>/dev/null || true ;; esac
    fi
    [ ! -L "$COMMUNAL_HOME/postgres" ] || rm -f "$COMMUNAL_HOME/postgres"
    rm -f "$COMMUNAL_HOME/secrets.env" "$(clock_file)"
    rm -rf "$run_dir"
    say "Everything removed; ./dev up starts anew."
}

status_command() {
    local pid name address state up
    locate_server
    pid=$(serving_pid)
    up=$(up_pid)
    if [ -n "$pid" ]; then
        printf 'Communal    process %s\n' "$pid"
        while read -r name address; do
            case $name in *_ADMIN_ADDR) ;; *) continue ;; esac
            state='not ready'
            ! curl -fsS --noproxy '*' --max-time 2 -o /dev/null "http://$(reachable "$address")/readyz" 2>/dev/null || state=ready
            name=${name#COMMUNAL_}
            printf '  %-11s %s\n' "$(printf '%s' "${name%_ADMIN_ADDR}" | tr '[:upper:]' '[:lower:]')" "$state"
        done <<LIST
$(each_address)
LIST
    elif [ -n "$up" ]; then
        printf 'Communal    starting (process %s)\n' "$up"
    else
        printf 'Communal    stopped\n'
    fi
    if ! as_owner test -f "$pg_data/PG_VERSION" 2>/dev/null; then
        printf 'PostgreSQL  none yet\n'
    elif find_postgres "$(as_owner cat "$pg_data/PG_VERSION")" && server_runs "$pg_data"; then
        printf 'PostgreSQL  %s, runs in %s\n' "$(pg_major "$pg_bin")" "$pg_dir"
    else
        printf 'PostgreSQL  stopped (%s)\n' "$pg_dir"
    fi
    [ -z "$pid" ] || print_addresses
    # The convention of service managers: 3 means not running.
    [ -n "$pid" ] || exit 3
}

# Ends with an error unless ./dev up runs; sets what its programs need.
need_running() {
    if [ -d "$COMMUNAL_HOME" ]; then locate_server; fi
    [ -d "$COMMUNAL_HOME" ] && [ -n "$(serving_pid)" ] ||
        die 1 "Communal does not run in $COMMUNAL_HOME (COMMUNAL_HOME): ./dev up"
    make_home
    if [ -f "$run_dir/programs" ]; then
        programs=$(cat "$run_dir/programs")
        [ -x "$programs/communal" ] && [ -x "$programs/billing" ] && [ -x "$programs/community" ]
    else
        find_programs
    fi || die 1 "the programs that run are gone: ./dev down, then ./dev up"
    export_settings
}

# service_command SERVICE ARGUMENT…: a command of the service's own program, on the database that ./dev up made.
service_command() {
    local service=$1
    shift
    case ${1:-help} in
    serve) die 64 "./dev up serves" ;;
    -h | --help | help) find_programs || die 1 "not built yet: ./dev up" ;;
    *) need_running ;;
    esac
    # As the role that serves, like a call; only the owner changes the schema and loads demo data.
    case ${1:-help} in
    migrate | seed) as_database_owner "$service" "$@" ;;
    *) "$programs/$service" "${@:-help}" ;;
    esac
}

psql_command() {
    local service=${1:-} url
    case $service in
    billing) url=${COMMUNAL_BILLING_DATABASE_URL:-} ;;
    community) url=${COMMUNAL_COMMUNITY_DATABASE_URL:-} ;;
    *) die 64 "usage: ./dev psql billing|community [psql's own arguments]" ;;
    esac
    shift
    locate_server
    if [ -z "$url" ]; then
        as_owner test -f "$pg_data/PG_VERSION" 2>/dev/null || die 1 "there is no database yet: ./dev up"
        find_postgres "$(as_owner cat "$pg_data/PG_VERSION")" || die 1 "PostgreSQL's programs are gone: ./dev up"
        server_answers "$pg_socket" || die 1 "PostgreSQL does not run: ./dev up"
        # By environment, so that the caller's own -d or -U takes precedence.
        exec env PGHOST="$pg_socket" PGPORT=5432 PGUSER="$service" PGDATABASE="$service" "$pg_bin/psql" "$@"
    fi
    find_postgres || die 1 "there is no psql: ./dev up installs it"
    exec "$pg_bin/psql" "$url" "$@"
}

logs_command() {
    local log
    log=$(log_file)
    [ -f "$log" ] || die 1 "there is no log: only a detached ./dev up writes one"
    case ${1:-} in
    '') tail -n 200 "$log" ;;
    -f | --follow) exec tail -n 50 -f "$log" ;;
    *) die 64 "usage: ./dev logs [-f]" ;;
    esac
}
