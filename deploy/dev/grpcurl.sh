# shellcheck shell=bash
# Calls of documents are for grpcurl. Where it is not installed, buf makes the same call.
if ! command -v grpcurl >/dev/null 2>&1; then
    grpcurl() {
        local arguments=() target=''
        while [ $# -gt 0 ]; do
            case $1 in
            -plaintext) ;;
            -H) arguments+=(--header "$2") && shift ;;
            -d) arguments+=(--data "$2") && shift ;;
            *) if [ -z "$target" ]; then target=$1; else target=http://$target/$1; fi ;;
            esac
            shift
        done
        "$(./dev buf)" curl --protocol grpc --http2-prior-knowledge "${arguments[@]}" "$target"
    }
fi
