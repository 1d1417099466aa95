"""The start of the agent, until it tells systemd that it is READY."""

from peers import Haproxy
from report import Column, Report, Table, Target, percentile
from settings import Settings
from testbed import CONTAINER, Testbed, note

RPM = "route at the RPM, no rules yet (a boot)"
RESTORED = "saved route to the container, no rules yet (a boot)"
ADOPTED = "saved route to the container, rules found (a restart)"
HAPROXY = "HAProxy, two servers checked"
_CHECK = "the container's check, once (curl)"
_CONFINED = "/bin/true in the agent's confinement"
_HARDENING = "dualdeployd.service.d/50-hardening.conf"


def run(bed: Testbed, settings: Settings) -> Report:
    columns = [Column("ms, p50", "ready_ms"), Column("p99", "ready_ms", lambda samples: percentile(samples, 99)),
               Column("worst", "ready_ms", max)]
    table = Table("start to READY", columns)
    servers = f"listen web\n    bind :9020\n    mode http\n    option httpchk GET /\n    default-server check inter 1s\n" \
              f"    server rpm 127.0.0.1:80\n    server container 127.0.0.1:{CONTAINER} backup\n"
    bed.write(f"/run/systemd/system/{_HARDENING.replace('dualdeployd', 'bench-true')}",
              (bed.root / "usr/lib/systemd/system" / _HARDENING).read_bytes())
    bed.unit("bench-true", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n", start=False)
    with Haproxy(bed, servers):
        for turn in range(settings.rounds):
            note(f"start: round {turn + 1} of {settings.rounds}")
            for _ in range(settings.starts):
                bed.flip("rpm")
                table.add(RPM, ready_ms=_start(bed, rules_stay=False))
                bed.until_healthy()
                bed.flip("container")
                table.add(RESTORED, ready_ms=_start(bed, rules_stay=False))
                _expect_container(bed)
                table.add(ADOPTED, ready_ms=_start(bed, rules_stay=True))
                _expect_container(bed)
                bed.inside("systemctl", "stop", "bench-haproxy")
                table.add(HAPROXY, ready_ms=ready_after_ms(bed, "bench-haproxy"))
                table.add(_CONFINED, ready_ms=_confined_ms(bed))
                table.add(_CHECK, ready_ms=_one_check_ms(bed))
    check_ms = table.value(_CHECK, "ready_ms")
    targets = [Target(f"READY beyond the check's own time, ms: {case}", table.value(case, "ready_ms") - check_ms, 100)
               for case in (RPM, RESTORED, ADOPTED)]
    return Report("start", [table], targets, [
        "From the fork of the main process to `active`, as systemd has seen them.",
        "In that time systemd itself sets up namespaces and filters: see /bin/true, which does nothing in them."])


def ready_after_ms(bed: Testbed, unit: str) -> float:
    """Starts the unit, which is stopped."""
    return _from_fork_ms(bed, unit, "ActiveEnterTimestampMonotonic")


def _confined_ms(bed: Testbed) -> float:
    bed.inside("systemctl", "stop", "bench-true")
    return _from_fork_ms(bed, "bench-true", "ExecMainExitTimestampMonotonic")


def _from_fork_ms(bed: Testbed, unit: str, until: str) -> float:
    bed.inside("systemctl", "reset-failed", unit, check=False)  # So many starts are no failure here.
    bed.inside("systemctl", "start", unit)
    shown = bed.inside("systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "-p", until, unit)
    at_us = {name: int(value) for name, value in (line.split("=") for line in shown.splitlines())}
    return (at_us[until] - at_us["ExecMainStartTimestampMonotonic"]) / 1e3


def _start(bed: Testbed, rules_stay: bool) -> float:
    bed.inside("systemctl", "stop", "dualdeployd")
    if not rules_stay:
        bed.inside("nft", "delete", "table", "inet", "dualdeploy")
    return ready_after_ms(bed, "dualdeployd")


def _expect_container(bed: Testbed) -> None:
    """READY promises that the route is what was saved."""
    route = bed.status()["route"]["effective"]
    if route != "container":
        raise RuntimeError(f"ready, and the route is {route}")


def _one_check_ms(bed: Testbed) -> float:
    seconds = bed.inside("curl", "-s", "-o", "/dev/null", "-w", "%{time_total}", f"http://127.0.0.1:{CONTAINER}/")
    return float(seconds) * 1e3
