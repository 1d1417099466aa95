"""A flip, from the command to the kernel's commit and to the durable acknowledgement."""

import os
import subprocess
import time
from pathlib import Path

import agent
from namespaces import Namespace
from peers import Haproxy, tell_haproxy
from report import Column, Report, Table, Target, percentile
from settings import Settings
from testbed import SERVICE, Testbed, note
from transactions import Commits

PROVED = "flip, with its proof"
UNPROVED = "flip, proof: false"
DUALCTL = "flip by dualctl, the process"
NFT = "nft -f, the bare transaction"
HAPROXY = "HAProxy, set server state"
DISK = "one durable write there"

_COMMITTED = "committed_ms"
_DONE = "done_ms"


def run(bed: Testbed, settings: Settings) -> Report:
    columns = [Column("commit ms, p50", _COMMITTED), Column("p99", _COMMITTED, lambda samples: percentile(samples, 99)),
               Column("acknowledged ms, p50", _DONE), Column("p99", _DONE, lambda samples: percentile(samples, 99)),
               Column("agent says ms", "took_ms")]
    table = Table("a flip of one service", columns)
    bare = BareTable(bed)
    try:
        with Haproxy(bed) as haproxy:
            for turn in range(settings.rounds):
                note(f"flip: round {turn + 1} of {settings.rounds}")
                for variant, proof in ((PROVED, True), (UNPROVED, False)):
                    bed.write_service(SERVICE, proof=proof)
                    bed.reload()
                    timed_flips(bed, table, variant, settings.flips)
                _dualctl_flips(bed, table, settings.flips)
                for committed_ms, done_ms in bare.transactions(settings.flips):
                    table.add(NFT, committed_ms=committed_ms, done_ms=done_ms)
                for done_ms in _haproxy_changes(haproxy.runtime_socket, settings.flips):
                    table.add(HAPROXY, done_ms=done_ms)
                for done_ms in _durable_writes(bed.root / "var/lib/dualdeploy", settings.flips):
                    table.add(DISK, done_ms=done_ms)
    finally:
        bare.close()
    targets = [Target("command to kernel commit, p50, ms", table.value(PROVED, _COMMITTED), 10),
               Target("command to acknowledgement, p50, ms", table.value(PROVED, _DONE), 15)]
    notes = ["Commit: the kernel's own notice of the transaction. Acknowledged: the answer on the control socket; durable by then.",
             "nft's end comes after its commit: the kernel makes it wait until what the transaction replaced is gone.",
             "HAProxy's change is in memory only. A durable write: file, fsync, rename, fsync of the directory."]
    return Report("flip", [table], targets, notes)


def timed_flips(bed: Testbed, table: Table, variant: str, count: int) -> None:
    """To and fro, from where the route is to the other side first."""
    at_rpm = bed.status()["route"]["effective"] == "rpm"
    sides = ["container", "rpm"] if at_rpm else ["rpm", "container"]
    for i in range(count):
        _operators_pause()
        timed = bed.server.run(agent.timed_flip, bed.control, SERVICE, sides[i % 2])
        table.add(variant, committed_ms=timed.committed_ms, done_ms=timed.acknowledged_ms, took_ms=timed.took_ms)


def _operators_pause() -> None:
    """After its answer the agent reads back what the kernel holds. An operator's next command comes later than that; flips at
    the heels of each other are measured under load."""
    time.sleep(0.1)


def _dualctl_flips(bed: Testbed, table: Table, count: int) -> None:
    dualctl = str(bed.root / "usr/bin/dualctl")
    for i in range(count):
        _operators_pause()
        side = "rpm" if bed.status()["route"]["effective"] != "rpm" else "container"
        begun = time.monotonic_ns()
        subprocess.run([dualctl, "--socket", bed.control, "flip", SERVICE, side], check=True, stdout=subprocess.DEVNULL)
        table.add(DUALCTL, done_ms=(time.monotonic_ns() - begun) / 1e6)


class BareTable:
    """The agent's table and its transactions, in a network namespace where nothing else is."""

    def __init__(self, bed: Testbed) -> None:
        self._namespace = Namespace()
        bed.flip("rpm")
        self._there = _transaction(bed, "container")
        self._namespace.run(_nft, bed.inside("nft", "list", "table", "inet", "dualdeploy"))
        bed.flip("container")
        self._back = _transaction(bed, "rpm")
        self.others = 0  # Other services that were flipped in it.

    def transactions(self, count: int) -> list[tuple[float, float]]:
        return self._namespace.run(_timed_nft, [self._there, self._back], count)

    def add(self, script: str) -> None:
        self._namespace.run(_nft, script)

    @property
    def there(self) -> str:
        return self._there

    def close(self) -> None:
        self._namespace.close()


def _transaction(bed: Testbed, side: str) -> str:
    return agent.request(bed.control, "POST", f"/v1/services/{SERVICE}/flip", {"to": side, "dry_run": True})["transaction"]


def _nft(script: str) -> None:
    subprocess.run(["/usr/sbin/nft", "-f", "-"], input=script.encode(), check=True)


def _timed_nft(scripts: list[str], count: int) -> list[tuple[float, float]]:
    timed = []
    for i in range(count):
        with Commits() as commits:
            begun = time.monotonic_ns()
            with subprocess.Popen(["/usr/sbin/nft", "-f", "-"], stdin=subprocess.PIPE) as nft:
                nft.stdin.write(scripts[i % 2].encode())
                nft.stdin.close()
                committed = commits.wait(5)
            done = time.monotonic_ns()
            timed.append(((committed - begun) / 1e6, (done - begun) / 1e6))
    return timed


def _haproxy_changes(runtime_socket: str, count: int) -> list[float]:
    timed = []
    for i in range(count):
        begun = time.monotonic_ns()
        answer = tell_haproxy(runtime_socket, f"set server tcp/container state {'maint' if i % 2 == 0 else 'ready'}")
        timed.append((time.monotonic_ns() - begun) / 1e6)
        if answer.strip():
            raise RuntimeError(f"HAProxy: {answer}")
    return timed


def _durable_writes(directory: Path, count: int) -> list[float]:
    timed = []
    for _ in range(count):
        begun = time.monotonic_ns()
        with open(directory / "bench.new", "wb") as file:
            file.write(b"x" * 500)
            file.flush()
            os.fsync(file.fileno())
        os.rename(directory / "bench.new", directory / "bench")
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)
        timed.append((time.monotonic_ns() - begun) / 1e6)
    os.unlink(directory / "bench")
    return timed
