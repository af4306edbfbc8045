// The peer of the gateway's benchmark: grpc-gateway in front of the same service.
//
// The marshaler is protojson, which grpc-gateway v2 uses; the one of 1.6, which Debian packages, is several times
// slower and would be no fair opponent. It writes canonical JSON (int64 as text, decimals quoted, codes by name) under
// the documented keys, and every key is present, as the documents ask.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/golang/protobuf/proto"
	"github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	billing "peer/billing"
)

type protoJSON struct {
	write protojson.MarshalOptions
	read  protojson.UnmarshalOptions
}

func (*protoJSON) ContentType() string { return "application/json" }

func (m *protoJSON) Marshal(v interface{}) ([]byte, error) {
	return m.write.Marshal(proto.MessageV2(v))
}

func (m *protoJSON) Unmarshal(data []byte, v interface{}) error {
	return m.read.Unmarshal(data, proto.MessageV2(v))
}

func (m *protoJSON) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v interface{}) error {
		body, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return m.Unmarshal(body, v)
	})
}

func (m *protoJSON) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v interface{}) error {
		body, err := m.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(body)
		return err
	})
}

// Credentials come as the headers which the service reads as metadata.
func credentials(name string) (string, bool) {
	return strings.ToLower(name), strings.HasPrefix(strings.ToLower(name), "x-")
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: grpc-gateway-peer LISTEN SERVICE")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	marshaler := &protoJSON{write: protojson.MarshalOptions{EmitUnpopulated: true}}
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, marshaler),
		runtime.WithIncomingHeaderMatcher(credentials),
	)
	options := []grpc.DialOption{
		grpc.WithInsecure(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
	}
	if err := billing.RegisterReceivableServiceHandlerFromEndpoint(ctx, mux, os.Args[2], options); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(os.Args[1], mux))
}
