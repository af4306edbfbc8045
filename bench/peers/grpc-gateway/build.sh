#!/usr/bin/env bash
# Builds the grpc-gateway peer from Debian's packages alone: build.sh PROTO_DIR OUT_DIR. Nothing is installed: the
# newer protobuf libraries, which conflict with the packaged gateway, are unpacked into a GOPATH of their own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
protos=$1
out=$2
overlay=$out/overlay
rm -rf "$out/go" "$out/protos"
mkdir -p "$out/packages" "$overlay" "$out/go/src/peer/gateway" "$out/protos"
if [ ! -x "$overlay/usr/bin/protoc-gen-go" ]; then
    (
        cd "$out/packages"
        apt-get download -qq golang-github-golang-protobuf-1-5-dev golang-google-protobuf-dev protoc-gen-go-1-5 \
            protoc-gen-go-grpc 2>/dev/null
    )
    for package in "$out"/packages/*.deb; do
        dpkg -x "$package" "$overlay"
    done
fi

# A copy of the contract names the packages of this program.
cp -R "$protos/communal" "$out/protos/"
for package in contract billing; do
    sed -i "s|^option go_package = .*|option go_package = \"peer/$package;$package\";|" \
        "$out/protos/communal/$package/v1"/*.proto
done
generated=$out/go/src
service=communal/billing/v1
cd "$out/protos"
protoc -I . --plugin=protoc-gen-go="$overlay/usr/bin/protoc-gen-go" --go_out="$generated" \
    --plugin=protoc-gen-go-grpc="$overlay/usr/bin/protoc-gen-go-grpc" --go-grpc_out="$generated" \
    communal/contract/v1/contract.proto $service/codes.proto $service/reasons.proto $service/receivables.proto
protoc -I . --grpc-gateway_out="grpc_api_configuration=$here/routes.yaml:$generated" $service/receivables.proto
cp "$here/main.go" "$generated/peer/gateway/"
cd "$generated"
GO111MODULE=off GOFLAGS='' GOCACHE=$out/cache GOPATH=$out/go:$overlay/usr/share/gocode:/usr/share/gocode \
    go build -o "$out/grpc-gateway-peer" peer/gateway
