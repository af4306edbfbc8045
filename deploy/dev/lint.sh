# shellcheck shell=bash
# `./dev lint`: all checks of CI except the tests. All of them run, even after one has failed.

lint_failed=''
# check TITLE COMMAND…
check() {
    local title=$1
    shift
    say "$title …"
    if ! "$@"; then
        warn "failed: $title"
        lint_failed="$lint_failed
  $title"
    fi
}

lint_command() {
    need_compiler
    need_rust
    need_buf
    cd "$root" || exit 1
    check "Format of the Rust sources (cargo fmt)" cargo fmt --all --check
    check "Lints (cargo clippy)" cargo clippy --quiet --workspace --all-targets --all-features --locked -- -D warnings
    check "Contract: lint (buf)" "$buf" lint proto
    check "Contract: format (buf)" "$buf" format --diff --exit-code proto
    check "Contract: nothing broken for its users (buf)" lint_breaking
    check "Licences of dependencies" lint_licences
    if have shellcheck; then
        check "Scripts (shellcheck)" shellcheck --external-sources dev .ci/run deploy/dev/smoke bench/peers/grpc-gateway/build.sh \
            deploy/docker/check-rootfs deploy/docker/hollow deploy/docker/keys deploy/docker/rootfs
    else
        say "Scripts: shellcheck is not installed, not checked."
    fi
    [ -z "$lint_failed" ] || die 1 "these checks failed:$lint_failed"
}

# Compares with the published main if it is known, otherwise with the local one.
lint_breaking() {
    local base
    for base in refs/remotes/origin/main refs/heads/main; do
        if git rev-parse --quiet --verify "$base:proto/buf.yaml" >/dev/null 2>&1; then
            "$buf" breaking proto --against ".git#ref=$(git rev-parse "$base"),subdir=proto"
            return
        fi
    done
    say "  there is no main branch with a contract to compare with"
}

lint_licences() {
    cargo metadata --locked --format-version 1 | python3 deploy/dev/licences.py deploy/dev/licences.allow
}
