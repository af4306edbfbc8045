# shellcheck shell=bash
# `./dev stubs [LANGUAGE …]`: generates clients from the contract as a stranger would, and looks whether each has every call.

stubs_command() {
    local language list missing='' failed=''
    [ $# -gt 0 ] || set -- python node go java csharp
    need_curl
    make_home
    stubs=$COMMUNAL_HOME/stubs
    mkdir -p "$stubs"
    need_python_stubs
    list=$stubs/contract
    list_calls >"$list"
    for language in "$@"; do
        case $language in
        python | node | go | java | csharp) ;;
        *) die 64 "usage: ./dev stubs [python | node | go | java | csharp …]" ;;
        esac
        say "Stubs: $language …"
        rm -f "$stubs/$language.calls"
        if ! "stubs_of_$language"; then
            failed="$failed $language"
        elif [ -n "$lacking" ]; then
            missing="$missing
  $language: $lacking"
        elif [ -f "$stubs/$language.calls" ] && ! diff "$list" "$stubs/$language.calls" >&2; then
            warn "the client in $language has other calls than the contract"
            failed="$failed $language"
        fi
    done
    [ -z "$missing" ] || say "Not checked:$missing"
    [ -z "$failed" ] || die 1 "these stubs are not usable:$failed"
}

# Prints the calls of the contract, from the sources.
list_calls() {
    # shellcheck disable=SC2016 # awk's own
    find "$root/proto/communal" -name '*.proto' -exec awk '
        /^package /{sub(/;/, "", $2); package = $2}
        /^service /{service = $2}
        /^  rpc /{sub(/\(.*/, "", $2); print package "." service "/" $2}' {} + | LC_ALL=C sort
}

proto_files() { cd "$root/proto" && find communal -name '*.proto' | LC_ALL=C sort; }

# protoc comes with the Python tools, in the same version everywhere; generators are added to it.
need_python_stubs() {
    local folder=$COMMUNAL_HOME/tools/python requirements=docs/examples/python/requirements.txt
    python_stubs=$folder
    if ! cmp -s "$root/$requirements" "$folder/requirements.txt"; then
        say "Fetching grpcio-tools from PyPI …"
        rm -rf "$folder"
        pip_into "$folder" "../../$requirements" || die 1 "grpcio-tools could not be installed"
        cp "$root/$requirements" "$folder/requirements.txt"
    fi
}

# protoc ARGUMENT…: compiles all files of the contract.
protoc_of_python() {
    # shellcheck disable=SC2046 # names without spaces
    PYTHONPATH=$python_stubs python3 -m grpc_tools.protoc -I "$root/proto" "$@" $(proto_files)
}

# fresh LANGUAGE: an empty folder for what is generated.
fresh() {
    rm -rf "${stubs:?}/$1"
    mkdir -p "$stubs/$1"
    lacking=''
}

stubs_of_python() {
    fresh python
    protoc_of_python --python_out="$stubs/python" --pyi_out="$stubs/python" --grpc_python_out="$stubs/python" || return
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$stubs/python:$python_stubs python3 "$root/deploy/dev/stubs/calls.py" >"$stubs/python.calls"
}

# Node reads the contract at start; nothing is generated.
stubs_of_node() {
    local folder=$stubs/node
    lacking=''
    { have node && have npm; } || { lacking='node and npm are not installed' && return 0; }
    mkdir -p "$folder"
    cp "$root"/docs/examples/node/package*.json "$root/deploy/dev/stubs/calls.mjs" "$folder/"
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --silent) || return
    # shellcheck disable=SC2046 # names without spaces
    (cd "$folder" && node calls.mjs "$root/proto" $(proto_files)) >"$stubs/node.calls"
}

# unpack_debian FOLDER FILE PACKAGE…: unpacks Debian's packages, if the file is not there yet. They are not installed, because they
# conflict with the packaged grpc-gateway of ./dev bench.
unpack_debian() {
    local folder=$1 file=$2 package
    shift 2
    [ ! -e "$folder/$file" ] || return 0
    { have apt-get && have dpkg; } || { lacking="$file comes from Debian's packages" && return 0; }
    say "Unpacking $* …"
    apt_refresh
    mkdir -p "$folder/deb"
    (cd "$folder/deb" && apt-get download -qq "$@" 2>/dev/null) || return
    for package in "$folder"/deb/*.deb; do dpkg -x "$package" "$folder" || return; done
    rm -rf "$folder/deb"
}

stubs_of_go() {
    local packages=$COMMUNAL_HOME/tools/go
    fresh go
    have go || { lacking='go is not installed' && return 0; }
    unpack_debian "$packages" usr/bin/protoc-gen-go-grpc protoc-gen-go-1-5 protoc-gen-go-grpc golang-google-protobuf-dev \
        golang-github-golang-protobuf-1-5-dev golang-google-grpc-dev golang-google-genproto-dev golang-golang-x-net-dev \
        golang-golang-x-sys-dev golang-golang-x-text-dev || return
    [ -z "$lacking" ] || return 0
    mkdir -p "$stubs/go/src/calls"
    protoc_of_python --plugin="protoc-gen-go=$packages/usr/bin/protoc-gen-go" --go_out="$stubs/go/src" \
        --plugin="protoc-gen-go-grpc=$packages/usr/bin/protoc-gen-go-grpc" --go-grpc_out="$stubs/go/src" || return
    cp "$root/deploy/dev/stubs/calls.go" "$stubs/go/src/calls/"
    GO111MODULE=off GOFLAGS='' GOCACHE=$COMMUNAL_HOME/tools/go-cache GOPATH=$stubs/go:$packages/usr/share/gocode \
        go run calls >"$stubs/go.calls"
}

# protoc of Debian has the generators of Java and C#, without those of their calls.
need_protoc() {
    lacking=''
    # The files of google/protobuf, which Debian has in a package that the compiler's only recommends.
    if ! have protoc || ! has_protobuf_files; then
        ! may_install || apt_install protobuf-compiler libprotobuf-dev || true
    fi
    if ! have protoc; then
        lacking='protoc is not installed'
    elif ! has_protobuf_files; then
        lacking='protoc is installed without google/protobuf/descriptor.proto (Debian: libprotobuf-dev)'
    fi
}

# protoc looks for its own files beside its folder of programs.
has_protobuf_files() {
    [ -r "$(dirname "$(command -v protoc)")/../include/google/protobuf/descriptor.proto" ]
}

# Messages alone, compiled against Debian's protobuf.
stubs_of_java() {
    local packages=$COMMUNAL_HOME/tools/java
    fresh java
    need_protoc
    [ -z "$lacking" ] || return 0
    # shellcheck disable=SC2046 # names without spaces
    protoc -I "$root/proto" --java_out="$stubs/java" $(proto_files) || return
    [ -d "$stubs/java/example/communal/billing/v1" ] || return
    have javac || { lacking='generated, but not compiled: javac is not installed' && return 0; }
    unpack_debian "$packages" usr/share/java/protobuf.jar libprotobuf-java || return
    [ -z "$lacking" ] || return 0
    find "$stubs/java" -name '*.java' >"$stubs/java/sources"
    javac -nowarn -proc:none -d "$stubs/java/classes" -cp "$packages/usr/share/java/protobuf.jar" "@$stubs/java/sources"
}

stubs_of_csharp() {
    fresh csharp
    need_protoc
    [ -z "$lacking" ] || return 0
    # shellcheck disable=SC2046 # names without spaces
    protoc -I "$root/proto" --csharp_out="$stubs/csharp" --csharp_opt=base_namespace=Communal $(proto_files) &&
        grep -q '^namespace Communal.Billing.V1 {' "$stubs/csharp/Billing/V1/Packages.cs"
}
