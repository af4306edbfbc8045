# shellcheck shell=bash
# `./dev sqlx prepare|check [crate…]`: the query data of the sqlx macros (.sqlx), which allows building without a
# database. Each crate has its own variable and its own folder, which `cargo sqlx prepare --workspace` does not
# support. It needs no further tool: if they reach a database, the macros themselves write a file for each query into
# SQLX_OFFLINE_DIR.

# crate folder, package, variable (as in the crate's sqlx.toml)
sqlx_crates='
services/kit communal-kit COMMUNAL_KIT_DATABASE_URL
services/billing communal-billing COMMUNAL_BILLING_DATABASE_URL
services/community communal-community COMMUNAL_COMMUNITY_DATABASE_URL
'

# apply_migrations DATABASE FOLDER: applies all of them in order, each in one transaction unless it says otherwise.
apply_migrations() {
    local file
    for file in "$root/$2"/migrations/[0-9]*.sql; do
        case $file in
        *'[0-9]*'*) continue ;; # no migration yet
        *.down.sql) continue ;;
        esac
        if head -n 1 "$file" | grep -q '^-- no-transaction'; then
            as_superuser "$scratch_socket" "$1" -o /dev/null <"$file"
        else
            as_superuser "$scratch_socket" "$1" -o /dev/null --single-transaction <"$file"
        fi || die 1 "${file#"$root"/} does not apply"
    done
}

# migrated_database DATABASE FOLDER: creates a database with the common schema and then the crate's own.
migrated_database() {
    as_superuser "$scratch_socket" postgres -c "CREATE DATABASE \"$1\""
    PGOPTIONS='-c client_min_messages=warning' apply_migrations "$1" services/kit
    [ "$2" = services/kit ] || PGOPTIONS='-c client_min_messages=warning' apply_migrations "$1" "$2"
}

# fresh_query_data FOLDER PACKAGE VARIABLE OUT: compiles the crate against a database, so that the macros fill OUT.
fresh_query_data() {
    local folder=$1 package=$2 variable=$3 out=$4 database target
    database=prepare_$(basename "$folder")
    migrated_database "$database" "$folder"
    mkdir -p "$out"
    # The macros run only when the crate is compiled, and cargo does not know that the database changed. Its record of
    # this one crate is removed: no source file is touched, and no dependency is built again.
    target=$(target_dir)
    rm -rf "$target"/debug/.fingerprint/"$package"-*
    interruptible in_root env SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$out" \
        "$variable=$(database_url "$scratch_socket" postgres "$database")" \
        cargo check --quiet --package "$package" --all-targets --all-features
}

sqlx_command() {
    local mode=${1:-} folder package variable out failed=0 wanted
    [ $# -eq 0 ] || shift
    case $mode in prepare | check) ;; *) die 64 "usage: ./dev sqlx prepare|check [kit|billing|community …]" ;; esac
    wanted=" $* "
    need_compiler
    need_rust
    need_postgres
    trap 'end_child; stop_scratch' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_scratch
    while read -r folder package variable; do
        [ -n "$folder" ] || continue
        case $wanted in '  ' | *" ${folder##*/} "*) ;; *) continue ;; esac
        say "Compiling $package against a database with its migrations …"
        out=$(mktemp -d /tmp/communal-queries.XXXXXX)
        if [ "$mode" = prepare ]; then
            prepare_crate "$folder" "$package" "$variable" "$out" || failed=1
        else
            check_crate "$folder" "$package" "$variable" "$out" || failed=1
        fi
        rm -rf "$out"
    done <<LIST
$sqlx_crates
LIST
    return "$failed"
}

prepare_crate() {
    local committed=$root/$1/.sqlx
    if fresh_query_data "$@"; then
        rm -rf "$committed"
        mkdir "$committed"
        # Never empty: git keeps no empty folder, so an empty one would be indistinguishable from one that was never
        # prepared.
        printf 'Written by ./dev sqlx prepare: what each checked query takes and returns.\n' >"$committed/README"
        copy_query_data "$4" "$committed"
        say "  $1/.sqlx: $(count_queries "$committed") queries"
    else
        # The macros run before types are checked: their files are correct even if the crate does not compile yet.
        # Nothing is removed then, because not every query was reached.
        mkdir -p "$committed"
        copy_query_data "$4" "$committed"
        warn "$2 does not compile; the $(count_queries "$4") queries that were understood are in $1/.sqlx, stale ones remain"
        return 1
    fi
}

check_crate() {
    local committed=$root/$1/.sqlx difference
    if ! fresh_query_data "$@"; then
        warn "$2 does not compile against its database"
        return 1
    fi
    if [ ! -d "$committed" ]; then
        [ "$(count_queries "$4")" -eq 0 ] && return 0
        warn "$1/.sqlx is missing: run ./dev sqlx prepare and commit it"
        return 1
    fi
    if ! difference=$(diff -r -x README "$committed" "$4"); then
        printf '%s\n' "$difference" >&2
        warn "$1/.sqlx is not what the queries and migrations say: run ./dev sqlx prepare and commit it"
        return 1
    fi
    say "  $1/.sqlx: $(count_queries "$4") queries, as committed"
}

copy_query_data() {
    local file
    for file in "$1"/query-*.json; do
        [ -f "$file" ] && cp "$file" "$2/"
    done
    return 0
}

count_queries() { find "$1" -name 'query-*.json' | wc -l | tr -d ' '; }
