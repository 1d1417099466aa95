"""The agent as its clients see it: HTTP over its control socket, without a program in between."""

import json
import select
import socket
import time
from dataclasses import dataclass

from transactions import Commits


class AgentError(RuntimeError):
    """The agent said no."""


@dataclass
class Timed:
    """A change, from the moment its request is made. Milliseconds."""

    committed_ms: float  # Until the kernel has told of the transaction.
    acknowledged_ms: float  # Until the answer is here: durable by then.
    took_ms: float  # What the agent says of it: to the kernel's yes, in whole milliseconds.


def request(control: str, method: str, path: str, body: dict | None = None) -> dict:
    connection = _send(control, method, path, body)
    with connection:
        return _answer(_read_all(connection))


def timed_flip(control: str, service: str, side: str) -> Timed:
    """Has to run in the instance's network namespace, where the kernel tells of its rules."""
    with Commits() as commits:
        begun = time.monotonic_ns()
        committed = None
        data = b""
        with _send(control, "POST", f"/v1/services/{service}/flip", {"to": side}) as connection:
            connection.setblocking(False)
            while True:
                readable, _, _ = select.select([connection, commits], [], [], 30)
                if not readable:
                    raise TimeoutError("the agent does not answer")
                if commits in readable:
                    committed = committed or commits.read()
                if connection in readable:
                    piece = connection.recv(1 << 16)
                    if not piece:
                        break
                    data += piece
                    acknowledged = time.monotonic_ns()
        answer = _answer(data)
        if committed is None:
            raise AgentError(f"the flip was acknowledged and the kernel told of no change: {answer}")
    return Timed((committed - begun) / 1e6, (acknowledged - begun) / 1e6, answer.get("duration_ms", 0))


def _send(control: str, method: str, path: str, body: dict | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(60)
    connection.connect(control)
    content = json.dumps(body).encode() if body is not None else b""
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n".encode() +
                       content)
    return connection


def _read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    return data


def _answer(data: bytes) -> dict:
    header, _, content = data.partition(b"\r\n\r\n")
    status = int(header.split(b" ", 2)[1])
    answer = json.loads(content)
    if status != 200:
        raise AgentError(f"HTTP status {status}: {answer}")
    return answer
