#!/usr/bin/env python3
"""usage: metadata_service.py ADDRESS PORT DIRECTORY

Plays EC2's instance metadata service, version 2, for the instance tests. Prints "listening" once it does. Ends at
SIGTERM.

  DIRECTORY/values/PATH   the answer to /latest/meta-data/PATH: instance-id, tags/instance/NAME,
                          autoscaling/target-lifecycle-state, spot/instance-action; 404 without the file
  DIRECTORY/user-data     the answer to /latest/user-data; 404 without the file
  DIRECTORY/mode          how it behaves, read at every request; good without the file:
      good        as the real one
      slow        as the real one, after 3 s
      throttling  503 to everything
      error       500 to everything
      garbage     closes after half an answer
      drop        accepts and never answers
      flapping    good and error by turns

Files that change are best written beside and renamed: a request may come at any time.
"""

import http.server
import pathlib
import secrets
import signal
import socket
import socketserver
import sys
import threading
import time

TOKEN_HEADER = "X-aws-ec2-metadata-token"
LIFETIME_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
LONGEST_LIFETIME_S = 21600
SLOW_S = 3
MODES = ("good", "slow", "throttling", "error", "garbage", "drop", "flapping")


class Service:
    """What is the same for all requests: the directory, the tokens, whose turn it is."""

    def __init__(self, directory):
        self.directory = directory
        self.lock = threading.Lock()
        self.tokens = {}
        self.last_mode = "good"
        self.turn = 0

    def mode(self):
        """The behaviour of this request; one of flapping is good or error."""
        with self.lock:
            try:
                text = (self.directory / "mode").read_text().strip()
            except FileNotFoundError:
                text = "good"
            # An empty file is one that is being written: as before, until it is.
            self.last_mode = text or self.last_mode
            if self.last_mode != "flapping":
                return self.last_mode
            self.turn += 1
            return "good" if self.turn % 2 == 1 else "error"

    def new_token(self, lifetime_s):
        token = secrets.token_urlsafe(40)
        with self.lock:
            self.tokens[token] = time.monotonic() + lifetime_s
        return token

    def is_valid(self, token):
        with self.lock:
            return token is not None and self.tokens.get(token, 0) > time.monotonic()

    def value(self, target):
        """The bytes of a value; None if there is none."""
        if target == "/latest/user-data":
            file = self.directory / "user-data"
        elif target.startswith("/latest/meta-data/"):
            file = self.directory / "values" / target[len("/latest/meta-data/") :]
        else:
            return None
        if ".." in file.parts or not file.is_file():
            return None
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"
    sys_version = ""
    timeout = 10  # For the request to come.

    def do_PUT(self):
        self.behave(self.give_token)

    def do_GET(self):
        self.behave(self.give_value)

    def behave(self, good):
        mode = self.server.service.mode()
        self.close_connection = True
        if mode == "drop":
            self.log_message('"%s" dropped', self.requestline)
            self.wait_until_client_has_gone()
        elif mode == "garbage":
            self.log_message('"%s" garbage', self.requestline)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\ni-0123")
        elif mode == "throttling":
            self.answer(503)
        elif mode == "error":
            self.answer(500)
        elif mode in MODES:
            if mode == "slow":
                time.sleep(SLOW_S)
            good()
        else:
            self.answer(500, f"there is no mode '{mode}'\n".encode())

    def give_token(self):
        if self.path != "/latest/api/token":
            return self.answer(405)
        asked = self.headers.get(LIFETIME_HEADER, "")
        if not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= LONGEST_LIFETIME_S):
            return self.answer(400)
        return self.answer(200, self.server.service.new_token(int(asked)).encode(), {LIFETIME_HEADER: asked})

    def give_value(self):
        if not self.server.service.is_valid(self.headers.get(TOKEN_HEADER)):
            return self.answer(401)
        value = self.server.service.value(self.path)
        return self.answer(404) if value is None else self.answer(200, value)

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def wait_until_client_has_gone(self):
        self.connection.settimeout(None)
        try:
            while self.connection.recv(4096):
                pass
        except OSError:
            pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True  # Those that never answer must not hold up the end.

    def __init__(self, address, port, service):
        self.service = service
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Handler)

    def server_bind(self):
        # The library's looks its own name up, and a client host has no resolver.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        # A client that does not wait for its answer is what the slow modes are for.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.splitlines()[0])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    directory = pathlib.Path(sys.argv[3])
    if not directory.is_dir():
        sys.exit(f"{directory} is no directory")
    with Server(sys.argv[1], int(sys.argv[2]), Service(directory)) as server:
        print("listening", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
