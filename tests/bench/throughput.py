"""Requests through a flipped front, beside those straight to the server and through proxies in user space."""

import load
from peers import HAPROXY_HTTP, HAPROXY_TCP, NGINX_STREAM, SOCKET_PROXYD, Haproxy, StreamProxies
from report import Column, Report, Table, Target
from settings import Settings
from testbed import ADDRESS, FRONT, Testbed, note

DIRECT = "direct (RPM, no rule)"
FLIPPED = "flipped front"
HAPROXY = "HAProxy, TCP"
# (variant, route, port). Only the first two touch the front port: it has no redirect while a proxy is measured.
_VARIANTS = [
    (DIRECT, "rpm", FRONT),
    (FLIPPED, "container", FRONT),
    (HAPROXY, "rpm", HAPROXY_TCP),
    ("HAProxy, HTTP", "rpm", HAPROXY_HTTP),
    ("nginx stream", "rpm", NGINX_STREAM),
    ("systemd-socket-proxyd", "rpm", SOCKET_PROXYD),
]


def run(bed: Testbed, settings: Settings) -> Report:
    columns = [Column("requests/s", "requests_per_s"), Column("of direct", "of_direct"), Column("p99 ms", "p99_ms"),
               Column("failed", "failed", sum)]
    tables = {kind: Table(f"requests, {kind} (wrk, 16 connections)", columns) for kind in load.KINDS}
    with Haproxy(bed), StreamProxies(bed, settings.stream_module):
        for turn in range(settings.rounds):
            note(f"throughput: round {turn + 1} of {settings.rounds}")
            for kind, table in tables.items():
                _measure_round(bed, table, kind, settings.load_seconds)
    bed.flip("rpm")
    keep_alive, each_its_own = tables.values()
    targets = [
        Target("flipped of direct, keep-alive", keep_alive.value(FLIPPED, "of_direct"), 0.97, at_least=True),
        Target("flipped of direct, a connection a request", each_its_own.value(FLIPPED, "of_direct"), 0.95, at_least=True),
        Target("flipped of HAProxy TCP, keep-alive", keep_alive.ratio(FLIPPED, "requests_per_s", HAPROXY), 1.8, at_least=True),
        Target("flipped of HAProxy TCP, a connection a request", each_its_own.ratio(FLIPPED, "requests_per_s", HAPROXY), 1.8,
               at_least=True),
        Target("failed requests, flipped", sum(table.value(FLIPPED, "failed", sum) for table in tables.values()), 0),
    ]
    notes = ["Ratios are of one round, where the variants take turns; medians over the rounds.",
             "Behind all: nginx with one worker; proxies lead to the container's port by 127.0.0.1."]
    return Report("throughput", list(tables.values()), targets, notes)


def _measure_round(bed: Testbed, table: Table, kind: str, seconds: int) -> None:
    direct = None
    for variant, route, port in _VARIANTS:
        bed.flip(route)
        bed.forget_connections()
        measured = load.measure(bed.client_netns, f"{ADDRESS}:{port}", kind, seconds)
        direct = direct or measured.requests_per_s
        table.add(variant, requests_per_s=measured.requests_per_s, of_direct=measured.requests_per_s / direct, p99_ms=measured.p99_ms,
                  failed=measured.failed)
