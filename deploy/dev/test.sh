# shellcheck shell=bash
# `./dev test [--keep] [-p PACKAGE …] [filter …]`: runs every test of the workspace, or of the named packages, on a
# PostgreSQL that lives as long as the tests.

test_command() {
    local keep='' selection=--workspace argument status=0
    case ${1:-} in --keep)
        keep=yes
        shift
        ;;
    esac
    # With --workspace, cargo would ignore the named packages.
    for argument in "$@"; do
        case $argument in
        --) break ;;
        -p | -p?* | --package | --package=*) selection='' ;;
        esac
    done
    need_compiler
    need_rust
    need_postgres
    make_home
    need_prometheus
    if [ -z "$keep" ]; then trap 'end_child; stop_scratch' EXIT; else trap end_child EXIT; fi
    trap 'exit 130' INT
    trap 'exit 143' TERM
    say "Starting a throw-away PostgreSQL ($pg_bin) …"
    start_scratch
    # Tests set their own settings; those of the calling shell must not influence them.
    forget_settings
    COMMUNAL_TEST_DATABASE_URL=$(database_url "$scratch_socket" postgres postgres)
    export COMMUNAL_TEST_DATABASE_URL
    export COMMUNAL_TEST_PROMETHEUS=$prometheus_dir
    # Tests of replicas start servers of their own as this user, which is named if it is not the current one.
    export COMMUNAL_TEST_POSTGRES=$pg_bin
    [ "$server_owner" = "$(id -un)" ] || export COMMUNAL_TEST_POSTGRES_OWNER=$server_owner
    interruptible in_root cargo test ${selection:+"$selection"} --locked "$@" || status=$?
    if [ -n "$keep" ]; then
        say "The server is kept: COMMUNAL_TEST_DATABASE_URL='$COMMUNAL_TEST_DATABASE_URL' $(env | sed -n '/^COMMUNAL_TEST_POSTGRES/p' | tr '\n' ' ')"
        say "Its log: $scratch_dir/server.log. To end it: kill -INT \$(head -n 1 $scratch_data/postmaster.pid); rm -r $scratch_dir"
    fi
    return "$status"
}

forget_settings() {
    local name
    for name in $(env | sed -n 's/^\(COMMUNAL_[A-Z_]*\)=.*/\1/p'); do
        unset "$name"
    done
}
