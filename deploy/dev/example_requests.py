"""Sends the example of each query in the OpenAPI document as it stands there, and expects the demo data to answer it. Each
query has one.

Usage: example_requests.py URL. The HC token is read from COMMUNAL_TOKEN.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

# Queries of EPEIS, all of which are POST; those of HC are GET.
QUERY = "/Service/v1/Query"
# A page in a browser that shows more takes long to answer its reader.
MOST_BYTES = 2_000_000


def send(url, headers, body=None):
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read()


def judge(body, dialect):
    """Returns why an answer is not one that a reader of the documentation expects."""
    reply = json.loads(body)
    code, text = ("CODE", "MESSAGE") if dialect == "post" else ("code", "msg")
    if str(reply[code]) != "0":
        return reply[text]
    return f"{len(body)} bytes" if len(body) > MOST_BYTES else None


def main():
    url = sys.argv[1]
    document = json.loads(send(url + "/openapi.json", {}))
    refused, without, sent = [], [], 0
    for path, operations in document["paths"].items():
        (verb, operation), = operations.items()
        if verb == "post" and not path.startswith(QUERY):
            continue
        if verb == "post":
            example = operation["requestBody"]["content"]["application/json"].get("example")
            if example is None:
                without.append(path)
                continue
            body = send(url + path, {"content-type": "application/json"}, json.dumps(example).encode())
        else:
            headers = {"authorization": "Bearer " + os.environ["COMMUNAL_TOKEN"]}
            query, missing = {}, False
            for parameter in operation["parameters"]:
                examples = parameter.get("schema", {}).get("examples", [])
                value = parameter.get("example", examples[0] if examples else None)
                if parameter["in"] == "header":
                    if value is not None:
                        headers[parameter["name"]] = value
                elif parameter["required"] or "example" in parameter:
                    missing = missing or value is None
                    query[parameter["name"]] = value
            if missing:
                without.append(path)
                continue
            headers["transaction-id"] = f"{time.time_ns()}"
            body = send(f"{url}{path}?{urllib.parse.urlencode(query)}", headers)
        sent += 1
        refusal = judge(body, verb)
        if refusal:
            refused.append(f"{path}: {refusal}")
    print("all" if not without and not refused else "not all", f"{sent + len(without)} queries have an example that is answered")
    for path in without:
        print(f"  without: {path}")
    for line in refused:
        print(f"  refused: {line}")
    return 1 if refused or without or sent == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
