"""wrk(1) on the client host."""

import re
import signal
import subprocess
from dataclasses import dataclass

KINDS = {"keep-alive": [], "a connection a request": ["-H", "Connection: close"]}
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


@dataclass
class Measured:
    requests: int
    requests_per_s: float
    p99_ms: float
    failed: int


class Load:
    """Runs at once; `stop` ends it early."""

    def __init__(self, client_netns: str, address: str, kind: str, seconds: int, connections: int = 16) -> None:
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", client_netns, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "--latency",
             *KINDS[kind], f"http://{address}/"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> Measured:
        self._process.send_signal(signal.SIGINT)  # wrk reports what it has.
        return self.finish()

    def finish(self) -> Measured:
        text, _ = self._process.communicate()
        return _parsed(text)

    def kill(self) -> None:
        if self.running():
            self._process.kill()
            self._process.wait()


def measure(client_netns: str, address: str, kind: str, seconds: int) -> Measured:
    load = Load(client_netns, address, kind, seconds)
    try:
        return load.finish()
    finally:
        load.kill()


def _parsed(text: str) -> Measured:
    requests = re.search(r"^\s*(\d+) requests in", text, re.M)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)
    p99 = re.search(r"^\s*99%\s+([\d.]+)(us|ms|s|m)$", text, re.M)
    if not (requests and rate and p99):
        raise RuntimeError(f"wrk has not measured:\n{text}")
    failed = 0
    for line in text.splitlines():  # Both lines are there only if there were any.
        if "Socket errors" in line or "Non-2xx or 3xx responses" in line:
            failed += sum(int(number) for number in re.findall(r"\b(\d+)\b(?!xx)", line.split(":", 1)[1]))
    return Measured(int(requests[1]), float(rate[1]), float(p99[1]) * _UNITS[p99[2]], failed)
