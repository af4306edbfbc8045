"""Sends the examples of the OpenAPI document as they stand there, and expects the demo data to answer them.

Usage: example_requests.py URL queries|writes. Each query has an example; a write has one if the demo data takes it. The HC token
is read from COMMUNAL_TOKEN.
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


def headers_of(operation):
    """Returns the headers of a call with the examples of their parameters."""
    headers = {"authorization": "Bearer " + os.environ["COMMUNAL_TOKEN"]}
    for parameter in operation["parameters"]:
        examples = parameter.get("schema", {}).get("examples", [])
        value = parameter.get("example", examples[0] if examples else None)
        if parameter["in"] == "header" and value is not None:
            headers[parameter["name"]] = value
    headers["transaction-id"] = f"{time.time_ns()}"
    return headers


def query_of(operation):
    """Returns the examples of parameters that a call needs; None if one is missing."""
    query = {}
    for parameter in operation["parameters"]:
        examples = parameter.get("schema", {}).get("examples", [])
        value = parameter.get("example", examples[0] if examples else None)
        if parameter["in"] == "query" and (parameter["required"] or "example" in parameter):
            if value is None:
                return None
            query[parameter["name"]] = value
    return query


def main():
    url, wanted = sys.argv[1:]
    document = json.loads(send(url + "/openapi.json", {}))
    refused, without, sent = [], [], 0
    for path, operations in document["paths"].items():
        (verb, operation), = operations.items()
        is_query = verb == "get" or path.startswith(QUERY)
        if is_query != (wanted == "queries"):
            continue
        headers, dialect = headers_of(operation), "post" if path.startswith("/Service/") else "get"
        if verb == "get":
            query = query_of(operation)
            if query is None:
                without.append(path)
                continue
            body = send(f"{url}{path}?{urllib.parse.urlencode(query)}", headers)
        else:
            example = operation["requestBody"]["content"]["application/json"].get("example")
            if example is None:
                without.append(path)
                continue
            if dialect == "post":
                headers = {}
            body = send(url + path, {**headers, "content-type": "application/json"}, json.dumps(example).encode())
        sent += 1
        refusal = judge(body, dialect)
        if refusal:
            refused.append(f"{path}: {refusal}")
    missing = without if wanted == "queries" else []
    print("not all" if missing or refused else "all", f"{sent + len(missing)} {wanted} have an example that is answered")
    for path in missing:
        print(f"  without: {path}")
    for line in refused:
        print(f"  refused: {line}")
    return 1 if refused or missing or sent == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
