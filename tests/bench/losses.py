"""Requests that fail while the route is flipped to and fro as fast as the agent answers."""

import time

import agent
from load import KINDS, Load
from report import Column, Report, Table, Target
from settings import Settings
from testbed import ADDRESS, FRONT, SERVICE, Testbed, note

_LONGEST_S = 1800


def run(bed: Testbed, settings: Settings) -> Report:
    columns = [Column("flips", "flips"), Column("flips/s", "flips_per_s"), Column("requests", "requests"),
               Column("requests/s", "requests_per_s"), Column("failed", "failed")]
    table = Table("flips one after the other under load (wrk, 16 connections)", columns)
    for kind in KINDS:
        note(f"losses: {settings.flips_under_load} flips, {kind}")
        bed.flip("rpm")
        bed.forget_connections()
        load = Load(bed.client_netns, f"{ADDRESS}:{FRONT}", kind, _LONGEST_S)
        try:
            seconds = _flip_to_and_fro(bed, settings.flips_under_load, load)
            measured = load.stop()
        finally:
            load.kill()
        table.add(kind, flips=settings.flips_under_load, flips_per_s=settings.flips_under_load / seconds, requests=measured.requests,
                  requests_per_s=measured.requests_per_s, failed=measured.failed)
    bed.flip("rpm")
    failed = sum(table.value(kind, "failed") for kind in KINDS)
    return Report("losses", [table], [Target("failed requests", failed, 0)],
                  ["Each flip is answered (proved and durable) before the next is asked for."])


def _flip_to_and_fro(bed: Testbed, count: int, load: Load) -> float:
    """The seconds it took."""
    begun = time.monotonic()
    for i in range(count):
        agent.request(bed.control, "POST", f"/v1/services/{SERVICE}/flip", {"to": "container" if i % 2 == 0 else "rpm"})
    if not load.running():
        raise RuntimeError("the load ended before the flips")
    return time.monotonic() - begun
