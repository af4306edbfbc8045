"""Sends the example of each query in the OpenAPI document as it stands there, and expects the demo data to answer it.

Usage: example_requests.py URL. The HC token is read from COMMUNAL_TOKEN.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

QUERIES = ("/Service/v1/Query", ".list", ".query")


def send(url, headers, body=None):
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def main():
    url = sys.argv[1]
    document = send(url + "/openapi.json", {})
    refused, without, sent = [], [], 0
    for path, operations in document["paths"].items():
        if not any(mark in path for mark in QUERIES):
            continue
        (verb, operation), = operations.items()
        if verb == "post":
            example = operation["requestBody"]["content"]["application/json"].get("example")
            if example is None:
                without.append(path)
                continue
            reply = send(url + path, {"content-type": "application/json"}, json.dumps(example).encode())
            refusal = reply["MESSAGE"] if reply["CODE"] != 0 else None
        else:
            headers = {"authorization": "Bearer " + os.environ["COMMUNAL_TOKEN"]}
            query, missing = {}, False
            for parameter in operation["parameters"]:
                examples = parameter.get("schema", {}).get("examples", [])
                value = parameter.get("example", examples[0] if examples else None)
                if parameter["in"] == "header":
                    if value is not None:
                        headers[parameter["name"]] = value
                elif parameter["required"]:
                    missing = missing or value is None
                    query[parameter["name"]] = value
            if missing:
                without.append(path)
                continue
            headers["transaction-id"] = f"{time.time_ns()}"
            reply = send(f"{url}{path}?{urllib.parse.urlencode(query)}", headers)
            refusal = reply["msg"] if reply["code"] != "0" else None
        sent += 1
        if refusal:
            refused.append(f"{path}: {refusal}")
    print(f"{sent} examples answered, {len(without)} queries without one")
    for path in without:
        print(f"  without: {path}")
    for line in refused:
        print(f"  refused: {line}")
    return 1 if refused or sent == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
