"""Sends requests with many faulty rows as a client in Python with default options does, and looks whether it can read the refusal.

Usage: refused_rows.py ADDRESS. Clients that are built on grpc-core refuse large trailers, at random above 8 KB: each request
is sent 50 times, and each answer must be INVALID_ARGUMENT, with the fields at fault and with how many were left out.
"""

import sys

import grpc
from communal.billing.v1 import meters_pb2, meters_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CREDENTIALS = [
    ("x-channel-id", "C000000000000001"),
    ("x-channel-key", "0123456789abcdef" * 4),
    ("x-operator-id", "R000000000000001"),
    ("x-tenant-id", "S000000000000001"),
]
TIMES = 50


def refusal(meters, rows):
    """Sends meters without anything in them; returns the fields that are named and the bytes of the details."""
    request = meters_pb2.AddSettleMeterRequest(meters=[meters_pb2.NewMeter()] * rows)
    try:
        meters.AddSettleMeter(request, metadata=CREDENTIALS, timeout=60)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
            sys.exit(f"{rows} faulty rows: {error.code().name}: {error.details()}")
        status = rpc_status.from_call(error)
        fields, reason = [], error_details_pb2.ErrorInfo()
        for detail in status.details:
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(bad):
                fields += [violation.field for violation in bad.field_violations]
            else:
                detail.Unpack(reason)
        if not reason.reason or not error.details():
            sys.exit(f"{rows} faulty rows: no reason in {status}")
        return fields, reason, status.ByteSize()
    sys.exit(f"{rows} faulty rows: accepted")


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        meters = meters_pb2_grpc.MeterServiceStub(channel)
        for rows in (1, 100, 1000):
            answers = [refusal(meters, rows) for _ in range(TIMES)]
            fields, reason, size = answers[0]
            if "meters[0].store_id" not in fields or any(answer[0] != fields for answer in answers):
                sys.exit(f"{rows} faulty rows: {fields}")
            left_out = dict(reason.metadata)
            print(f"{rows} faulty rows, {TIMES} times: {reason.reason}, {len(fields)} fields named, {size} bytes, {left_out}")


if __name__ == "__main__":
    main()
