# shellcheck shell=bash
# `./dev bench [ROW…] [--json] [options]`: measures the shipped build against its limits and its peers on a private server
# with durable, normal settings. If all rows ran, it writes docs/performance.md.

bench_dir=''
bench_server=''

bench_command() {
    local argument rows='' target
    for argument in "$@"; do
        case $argument in -*) ;; *) rows="$rows $argument" ;; esac
    done
    [ -r /proc/self/schedstat ] || die 1 "the bench reads CPU time from /proc, which only Linux has"
    need_compiler
    need_rust
    need_postgres
    make_home
    bench_tools
    bench_dir=$COMMUNAL_HOME/bench
    # The logs of the last run's processes are kept until the next run.
    rm -rf "$bench_dir/work"
    mkdir -p "$bench_dir/work"
    target=$(target_dir)
    say "Building the binaries as they are shipped …"
    # A file that SQLX_OFFLINE names is always there: no database is needed to build.
    (cd "$root" && cargo build --quiet --profile shipped -p communal-billing -p communal-community -p communal-gateway \
        -p communal-bench) || die 1 "the build failed"
    export COMMUNAL_BENCH_PROGRAMS=$target/shipped
    case "$rows " in
    ' ' | *' gateway '*) bench_peer ;;
    esac
    case "$rows " in
    ' ' | *' transcoder '*)
        say "Measuring the transcoder (criterion) …"
        (cd "$root" && cargo bench --quiet -p communal-bench --bench transcoder -- --noplot >"$bench_dir/transcoder.log" 2>&1) ||
            die 1 "the transcoder's benchmark failed; see $bench_dir/transcoder.log"
        export COMMUNAL_BENCH_CRITERION=$target/criterion
        ;;
    esac
    trap bench_stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    bench_start
    COMMUNAL_BENCH_DOCS=$root/docs "$COMMUNAL_BENCH_PROGRAMS/bench" "$@"
}

# Load generators. If one is missing and cannot be installed, its rows are absent; the others still run.
bench_tools() {
    local missing=''
    have h2load || missing="$missing nghttp2-client"
    have pgbench || [ -x "$pg_bin/pgbench" ] || missing="$missing postgresql-contrib"
    [ -z "$missing" ] && return 0
    # shellcheck disable=SC2086 # a list of packages
    if ! may_install || ! apt_install $missing; then
        warn "could not install$missing: rows that need them will be absent"
    fi
}

# grpc-gateway, from Debian's packages and generated from our protos.
bench_peer() {
    local package missing=''
    for package in golang-go golang-grpc-gateway golang-github-grpc-ecosystem-grpc-gateway-dev golang-google-grpc-dev \
        golang-google-genproto-dev protobuf-compiler; do
        dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086 # a list of packages
        if ! may_install || ! apt_install $missing; then
            warn "grpc-gateway is absent: could not install$missing"
            return 0
        fi
    fi
    say "Building the grpc-gateway peer …"
    if "$root/bench/peers/grpc-gateway/build.sh" "$root/proto" "$bench_dir/grpc-gateway" >"$bench_dir/grpc-gateway.log" 2>&1; then
        export COMMUNAL_BENCH_GRPC_GATEWAY=$bench_dir/grpc-gateway/grpc-gateway-peer
    else
        warn "grpc-gateway is absent: it does not build, see $bench_dir/grpc-gateway.log"
    fi
}

# A server of its own with the settings of a small production server. The JSON log stays empty until a row captures the
# statements of a call.
bench_start() {
    local setting
    choose_owner
    bench_server=$(mktemp -d /tmp/communal-bench.XXXXXX)
    own "$bench_server"
    init_server "$bench_server/data" || die 1 "could not create a PostgreSQL server in $bench_server"
    set -- fsync=on synchronous_commit=on full_page_writes=on autovacuum=on max_connections=200 shared_buffers=1GB \
        max_wal_size=4GB logging_collector=on log_destination=jsonlog log_directory=log log_filename=bench \
        log_rotation_size=0 log_checkpoints=off log_min_messages=warning
    for setting in "$@"; do say "  $setting"; done
    start_server "$bench_server/data" "$bench_server/socket" "$bench_server/server.log" "$@" ||
        die 1 "no PostgreSQL for this run"
    export COMMUNAL_BENCH_PG_BIN=$pg_bin
    export COMMUNAL_BENCH_SOCKET=$bench_server/socket
    export COMMUNAL_BENCH_SERVER_LOG=$bench_server/data/log/bench.json
    export COMMUNAL_BENCH_WORK=$bench_dir/work
    COMMUNAL_BENCH_POSTMASTER=$(as_owner head -n 1 "$bench_server/data/postmaster.pid")
    export COMMUNAL_BENCH_POSTMASTER
}

bench_stop() {
    [ -n "$bench_server" ] || return 0
    as_owner "$pg_bin/pg_ctl" --pgdata="$bench_server/data" --mode=immediate --timeout=60 --wait stop >/dev/null 2>&1 || true
    case $bench_server in /tmp/communal-bench.*) rm -rf "$bench_server" ;; esac
    bench_server=''
}
