"""Prints what the accounts of each store owe, as a nightly job of a retail company would.

Usage: nightly_arrears.py [ADDRESS]. Credentials come from COMMUNAL_CHANNEL_ID, COMMUNAL_CHANNEL_KEY, COMMUNAL_OPERATOR_ID and
COMMUNAL_TENANT_ID; without them the job is the demo company's. The stubs must be in PYTHONPATH (docs/grpc.md).
"""

import json
import os
import sys
from collections import defaultdict
from decimal import Decimal

import grpc
from communal.billing.v1 import receivables_pb2, receivables_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "communal.billing.v1.ReceivableService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"],
            },
        }
    ]
}


def credentials():
    demo = {
        "channel-id": "C000000000000001",
        "channel-key": "0123456789abcdef" * 4,
        "operator-id": "R000000000000001",
        "tenant-id": "S000000000000001",
    }
    return [
        (f"x-{name}", os.environ.get("COMMUNAL_" + name.replace("-", "_").upper(), value))
        for name, value in demo.items()
    ]


def explain(error):
    """Prints a refusal: the stable reason first, then the fields at fault."""
    status = rpc_status.from_call(error)
    print(f"{error.code().name}: {error.details()}", file=sys.stderr)
    for detail in status.details if status else []:
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            print(f"  reason {info.reason}", file=sys.stderr)
        elif detail.Unpack(request):
            for fault in request.field_violations:
                print(f"  {fault.field} {fault.description}", file=sys.stderr)


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    # Decimals are texts in the contract; Decimal keeps them exact.
    owed, lines, accounts = defaultdict(Decimal), defaultdict(int), defaultdict(set)
    with grpc.insecure_channel(address, options=[("grpc.service_config", json.dumps(SERVICE_CONFIG))]) as channel:
        arrears = receivables_pb2_grpc.ReceivableServiceStub(channel)
        request = receivables_pb2.StreamUserArrearagesRequest(filter=receivables_pb2.ArrearsFilter())
        try:
            for answer in arrears.StreamUserArrearages(request, metadata=credentials(), timeout=600):
                for line in answer.lines:
                    store = line.retail_store_id
                    owed[store] += Decimal(line.fee) - Decimal(line.paid_total or "0")
                    lines[store] += 1
                    accounts[store].add(line.settlement_account_id)
        except grpc.RpcError as error:
            explain(error)
            return 1
    for store in sorted(owed):
        print(f"{store}  accounts {len(accounts[store]):4}  lines {lines[store]:5}  owed {owed[store]:>12}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
