"""An HTTPS receiver that verifies each request with the public Standard Webhooks library, and v1a with cryptography.

Stores each alert on a line of stored.ndjson, and those of requests whose webhook-id it did not know in once.ndjson; answers
503 to every third request, after storing it.
"""
import base64
import gzip
import http.server
import json
import pathlib
import ssl
import sys
import time

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from standardwebhooks.webhooks import Webhook

port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
webhook = Webhook((folder / "secret").read_text().strip())
stored = open(folder / "stored.ndjson", "ab", buffering=0)
once = open(folder / "once.ndjson", "ab", buffering=0)
known = set()
requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global requests
        requests += 1
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            print("content-encoding: gzip", flush=True)
            body = gzip.decompress(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            alerts = webhook.verify(body, headers)
            key = load_pem_public_key((folder / "agent.pub").read_bytes())
            v1a = [s for s in headers["webhook-signature"].split(" ") if s.startswith("v1a,")]
            message = f'{headers["webhook-id"]}.{headers["webhook-timestamp"]}.'.encode() + body
            key.verify(base64.b64decode(v1a[0][4:]), message)
        except Exception as error:
            print("BAD SIGNATURE", repr(error), flush=True)
            self.answer(401)
            return
        for alert in alerts:
            line = json.dumps(alert, ensure_ascii=False).encode() + b"\n"
            stored.write(line)
            if headers["webhook-id"] not in known:
                once.write(line)
        known.add(headers["webhook-id"])
        self.answer(503 if requests % 3 == 0 else 200)

    def answer(self, status):
        print("answered", status, flush=True)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
# Who has no certificate gets no answer at all.
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(folder / "client.pem")
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
