"""Writes through an edge that sets one x-request-id for a whole trace, as Envoy and Istio do, and looks at what happened.

Usage: behind_edge.py URL. Two writes of one trace both happen; a retry with one idempotency-key happens once and says so.
"""

import http.server
import json
import sys
import threading
import time
import urllib.request

HEAD = {
    "CHANNEL_DID": "C000000000000001",
    "DYNAMIC_KEY": "0123456789abcdef" * 4,
    "REGISTER_DID": "R000000000000001",
    "ACCOUNT_DID": "S000000000000001",
}


def edge(upstream):
    """Starts the edge on a port of its own and returns its URL."""

    class Edge(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name: self.headers[name] for name in ("content-type", "idempotency-key") if self.headers[name]}
            headers["x-request-id"] = "4a6e4d1c-7a4f-9f4e-8b0e-2f5d3c1b0a99"
            request = urllib.request.Request(upstream + self.path, data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=60) as reply:
                answer = reply.read()
                self.send_response(reply.status)
                for name in ("idempotent-replayed", "x-trace-id"):
                    if reply.headers[name]:
                        self.send_header(name, reply.headers[name])
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Edge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def main():
    url = edge(sys.argv[1])

    def call(name, body, key=None):
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        data = json.dumps({"SYS_HEAD": HEAD} | body).encode()
        request = urllib.request.Request(f"{url}/Service/v1/{name}/", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
            if answer["CODE"] != 0:
                sys.exit(f"{name}: {answer['MESSAGE']}")
            return answer, reply.headers["idempotent-replayed"]

    def add(name, key=None):
        book = {"NETWORK_TYPE": "1", "READMETER_YESNO": "2", "BUSINESS_HALL_AID": "H000000000000001", "BOOK_NAME": name}
        return call("AddSupplierBook", {"SUP_BOOK": [book]}, key)[1]

    def books(name):
        page = {"PAGE_NO": 1, "PAGE_ROWS": 10}
        answer, _ = call("QuerySupplierBook", {"SYS_PAGE": page, "SUP_BOOK": {"BOOK_NAME": name}})
        return len(answer["DATA"]["SUP_BOOK"])

    run = time.time_ns()
    one, other, retried = (f"{name}{run}" for name in ("甲", "乙", "丙"))
    told = [add(one), add(other)]
    retries = [add(retried, f"retry-{run}") for _ in range(3)]
    counts = [books(name) for name in (one, other, retried)]
    print(f"two writes of one trace: {counts[:2]} books, replayed {told}; one key three times: {counts[2]} book, replayed {retries}")
    return 0 if counts == [1, 1, 1] and told == [None, None] and retries == [None, "true", "true"] else 1


if __name__ == "__main__":
    sys.exit(main())
