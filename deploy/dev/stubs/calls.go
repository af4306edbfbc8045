// Prints the calls that the generated Go client has.
package main

import (
	"fmt"
	"sort"

	billing "communal.example/gen/communal/billing/v1"
	community "communal.example/gen/communal/community/v1"
	identity "communal.example/gen/communal/identity/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The constructors of clients: without --go-grpc_out this does not compile.
var (
	_ func(grpc.ClientConnInterface) billing.PackageServiceClient   = billing.NewPackageServiceClient
	_ func(grpc.ClientConnInterface) community.FeeItemServiceClient = community.NewFeeItemServiceClient
	_ func(grpc.ClientConnInterface) identity.IdentityServiceClient = identity.NewIdentityServiceClient
)

func main() {
	var calls []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for s := 0; s < file.Services().Len(); s++ {
			service := file.Services().Get(s)
			for m := 0; m < service.Methods().Len(); m++ {
				calls = append(calls, fmt.Sprintf("%s/%s", service.FullName(), service.Methods().Get(m).Name()))
			}
		}
		return true
	})
	sort.Strings(calls)
	for _, call := range calls {
		fmt.Println(call)
	}
}
