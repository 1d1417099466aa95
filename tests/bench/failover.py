"""kill -9 of the side that has the traffic, until a client gets a good answer from the other one."""

import os
import signal
import socket
import time

from namespaces import host_pid
from peers import Haproxy
from report import Column, Report, Table, Target, percentile
from settings import Settings
from testbed import ADDRESS, CONTAINER, FRONT, SERVICE, Testbed, note, until

AGENT = "dualdeploy, checks every 1 s"
_PORT = 9010
# As HAProxy has it by default: three failed checks. And with what it offers to be quicker: the first failed connection of a
# client counts as well, and that client's connection is given to the other server.
_SAME_INTERVAL = "HAProxy, checks every 1 s"
_EAGER = " observe layer4 error-limit 1 on-error mark-down"
_HAPROXY = {
    _SAME_INTERVAL: ("inter 1s", ""),
    "HAProxy, checks every 200 ms": ("inter 200ms", ""),
    "HAProxy, 1 s, observe layer4, mark-down at one error": ("inter 1s", _EAGER),
}
_PATIENCE_S = 30.0


def run(bed: Testbed, settings: Settings) -> Report:
    columns = [Column("first good answer ms, p50", "recovered_ms"),
               Column("p99", "recovered_ms", lambda samples: percentile(samples, 99)),
               Column("worst", "recovered_ms", max), Column("failed requests, p50", "failed")]
    kills = -(-settings.kills // settings.rounds)
    same, others = -(-kills // 2), -(-kills // 4)  # Each takes seconds, and they differ less.
    table = Table(f"kill -9 of the container, {kills * settings.rounds} times (HAProxy {same * settings.rounds}; with other settings "
                  f"{others * settings.rounds})", columns)
    proxies = "".join(_proxy(i, checks, more) for i, (checks, more) in enumerate(_HAPROXY.values()))
    with Haproxy(bed, proxies) as haproxy:
        for turn in range(settings.rounds):
            note(f"failover: round {turn + 1} of {settings.rounds}")
            for _ in range(kills):
                bed.until_healthy()
                bed.flip("container")
                _kill(bed, table, AGENT, FRONT)
            bed.until_healthy()
            # Who would start the container again behind HAProxy's back is away meanwhile.
            bed.inside("systemctl", "stop", "dualdeployd")
            for i, variant in enumerate(_HAPROXY):
                for _ in range(same if variant == _SAME_INTERVAL else others):
                    bed.inside("docker", "start", f"dualdeploy-{SERVICE}")
                    until("HAProxy sees both", lambda proxy=f"proxy{i}": _both_up(haproxy, proxy))
                    _kill(bed, table, variant, _PORT + i)
            bed.inside("systemctl", "start", "dualdeployd")
    targets = [Target("kill -9 to the first good answer, p50, ms", table.value(AGENT, "recovered_ms"), 30)]
    notes = ["Asked from the client host, a new connection a request, one after the other; good: 200, from the RPM. Failed: all before.",
             "HAProxy with three failed checks (its default) and the other server as `backup`."]
    return Report("failover", [table], targets, notes)


def _proxy(number: int, checks: str, more: str) -> str:
    return (f"listen proxy{number}\n    bind :{_PORT + number}\n    mode http\n    option httpchk GET /\n    option redispatch 1\n"
            f"    retries 3\n    default-server check {checks}\n    server container 127.0.0.1:{CONTAINER}{more}\n"
            f"    server rpm 127.0.0.1:{FRONT} backup\n")


def _both_up(haproxy: Haproxy, proxy: str) -> bool:
    """And the container answers. A server that is well again is believed at once: only the way down is measured."""
    haproxy.tell(f"set server {proxy}/container health up")
    lines = haproxy.tell("show stat").splitlines()
    status, check = (lines[0].split(",").index(name) for name in ("status", "check_status"))
    rows = [line.split(",") for line in lines[1:] if line.startswith(f"{proxy},")]
    return all(row[status] == "UP" and row[check] == "L7OK" for row in rows if row[1] in ("container", "rpm"))


def _kill(bed: Testbed, table: Table, variant: str, port: int) -> None:
    pid = int(bed.inside("docker", "inspect", "-f", "{{.State.Pid}}", f"dualdeploy-{SERVICE}"))
    recovered_ms, failed = bed.client.run(kill_and_ask, host_pid(pid, bed.server_netns), port)
    table.add(variant, recovered_ms=recovered_ms, failed=failed)


def kill_and_ask(pid: int, port: int) -> tuple[float, int]:
    """On the client host. The milliseconds until an answer of the RPM, and how many requests failed before."""
    failed = 0
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while time.monotonic() - begun < _PATIENCE_S:
        header = _ask(port)
        if header.startswith(b"HTTP/1.1 200") and b"\r\nx-side: rpm\r\n" in header.lower():
            return (time.monotonic() - begun) * 1e3, failed
        failed += 1
    raise TimeoutError(f"no good answer within {_PATIENCE_S} s")


def _ask(port: int) -> bytes:
    """What came before the connection ended."""
    answer = b""
    try:
        with socket.create_connection((ADDRESS, port), timeout=_PATIENCE_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while piece := connection.recv(4096):
                answer += piece
    except OSError:
        pass
    return answer
