"""Prints the calls that the generated Python client has, and looks whether its options can be read."""

import importlib
import pathlib
import sys

from google.protobuf import descriptor_pool

generated = next(pathlib.Path(path) for path in sys.path if (pathlib.Path(path) / "communal").is_dir())
calls = []
for module in sorted(generated.rglob("*_pb2.py")):
    name = ".".join(module.relative_to(generated).with_suffix("").parts)
    services = importlib.import_module(name).DESCRIPTOR.services_by_name
    stubs = importlib.import_module(name + "_grpc")
    for service in services.values():
        methods = vars(getattr(stubs, service.name + "Servicer"))
        calls += [f"{service.full_name}/{method}" for method in methods if not method.startswith("_")]

from communal.contract.v1 import contract_pb2  # noqa: E402 after the search for it

title = descriptor_pool.Default().FindFieldByName("communal.billing.v1.NewBook.utility").GetOptions()
if not title.Extensions[contract_pb2.field].required:
    sys.exit("the option (communal.contract.v1.field) of NewBook.utility cannot be read")
print("\n".join(sorted(calls)))
