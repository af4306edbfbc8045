# shellcheck shell=bash
# `./dev chaos SCENARIO|all`: breaks a Communal of its own on purpose and counts the effects on its clients. It does
# not touch anything that runs already: servers, ports and folders are new, and are removed afterwards.

chaos_dir=''

chaos_command() {
    local profile=dev programs owner=''
    case "${1:-} $#" in
    'rolling 1' | 'upgrade 1' | 'overload 1' | 'dbgone 1' | 'failover 1' | 'restore 1' | 'all 1' | 'abuse '*) ;;
    *) die 64 "usage: ./dev chaos rolling|upgrade|overload|dbgone|failover|restore|all, or abuse [--cheap] [ATTACK …]" ;;
    esac
    [ -d /proc/self ] || die 1 "chaos kills processes it finds in /proc, which only Linux has"
    # A debug build is enough for counting, and usually exists already; use COMMUNAL_PROFILE=release for figures.
    if [ "${COMMUNAL_PROFILE:-dev}" = release ]; then profile=release; fi
    need_compiler
    need_rust
    need_postgres
    choose_owner
    programs=${COMMUNAL_CHAOS_PROGRAMS:-}
    if [ -z "$programs" ]; then
        say "Building ($profile) …"
        (cd "$root" && cargo build --quiet --locked --profile "$profile" -p communal-billing -p communal-community \
            -p communal-gateway -p communal-chaos) || die 1 "the build failed"
        programs=$(target_dir)/debug
        [ "$profile" = dev ] || programs=$(target_dir)/release
    fi
    [ "$server_owner" = "$(id -un)" ] || owner=$server_owner
    # Attackers have thousands of connections, and so has whoever is attacked.
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    trap chaos_stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # The path must be short, because sockets lie in it.
    chaos_dir=$(mktemp -d /tmp/communal-chaos.XXXXXX)
    own "$chaos_dir"
    interruptible "$programs/communal-chaos" "$@" --programs "$programs" --postgres "$pg_bin" --folder "$chaos_dir" \
        ${owner:+--owner "$owner"}
}

chaos_stop() {
    local status=$?
    end_child
    if [ -n "$chaos_dir" ]; then
        if [ "$status" -ne 0 ] && [ -n "${COMMUNAL_CHAOS_KEEP:-}" ]; then
            say "Kept: $chaos_dir"
        else
            case $chaos_dir in /tmp/communal-chaos.*) rm -rf "$chaos_dir" ;; esac
        fi
        chaos_dir=''
    fi
    exit "$status"
}
