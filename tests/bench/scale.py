"""What the agent costs with many services: idle, in a flip, at its start; and how many checks a core can do."""

import time

import agent
import flip
from peers import Haproxy
from processes import cpu, family, memory_mb
from report import Column, Report, Table, Target
from settings import Settings
from start import ready_after_ms
from testbed import CONTAINER, FRONT, Testbed, nginx_config, note, until

# One service is whole: the unit and a running container, which are flipped. The others are checked as it is, on both sides, and
# share a unit; their containers are cold, and the same server answers in their place: a thousand containers would measure the
# container engine.
_OTHER_FRONT, _OTHER_CONTAINER = 20000, 30000
_OTHER = """\
ports: [{{front: {front}, container: {container}}}]
parity: false
rpm:
  unit: many.service
  check: {{http: {{path: /}}, interval: {interval}, timeout: 5s}}
container:
  image: bench
  standby: cold
  check: {{http: {{path: /}}, interval: {interval}, timeout: 5s}}
"""
_BUSY_INTERVAL_MS = 100
_BUSY_SERVICES = 200


def run(bed: Testbed, settings: Settings) -> Report:
    idle = Table(f"idle for {settings.idle_seconds} s, both sides of each service checked every 1 s", [
        Column("CPU % of a core", "cpu_percent"), Column("of it children", "children_percent"), Column("PSS MB", "pss_mb"),
        Column("RSS MB", "rss_mb")])
    flips = Table("a flip of one of them", [
        Column("commit ms, p50", "committed_ms"), Column("acknowledged ms, p50", "done_ms"),
        Column("bare nft transaction ms, all others flipped", "nft_ms"), Column("start to READY ms", "ready_ms")])
    bare = flip.BareTable(bed)
    try:
        there = 1
        for count in settings.service_counts:
            note(f"scale: {count} services")
            _make_others(bed, there, count, "1s")
            there = count
            bed.inside("systemctl", "stop", "dualdeployd")
            flips.add(_named(count), ready_ms=ready_after_ms(bed, "dualdeployd"))
            _until_all_healthy(bed, count)
            flip.timed_flips(bed, flips, _named(count), settings.flips * 2)
            _flip_others(bare, flips, count, settings.flips * 2)
            _idle(bed, idle, f"agent, {_named(count)}", [bed.main_pid("dualdeployd")], settings.idle_seconds)
            with Haproxy(bed, _haproxy_proxies(count, "1s")):
                _idle(bed, idle, f"HAProxy, {_named(count)}", family(bed.main_pid("bench-haproxy")), settings.idle_seconds)
        checks = _checks_per_core(bed, there, settings)
    finally:
        bare.close()
    one, most = _named(settings.service_counts[0]), _named(settings.service_counts[-1])
    targets = [
        Target("memory with one service, PSS MB", idle.value(f"agent, {one}", "pss_mb"), 12),
        Target("CPU with one service, % of a core", idle.value(f"agent, {one}", "cpu_percent"), 0.2),
        Target(f"acknowledged flip, {most} of {one}", flips.ratio(most, "done_ms", one), 2),
    ]
    notes = ["One service is whole; the others share a unit and have cold containers, for which the same nginx answers the checks.",
             "CPU counts the children (nft) too. HAProxy: as many backends of two servers, checked as often, without traffic."]
    return Report("scale", [idle, flips, checks], targets, notes)


def _named(count: int) -> str:
    return f"{count:,} service" + ("s" if count > 1 else "")


def _make_others(bed: Testbed, there: int, count: int, interval: str) -> None:
    """Up to `count` services, the whole one included."""
    if count == 1:
        return
    fronts = range(_OTHER_FRONT, _OTHER_FRONT + count - 1)
    containers = range(_OTHER_CONTAINER, _OTHER_CONTAINER + count - 1)
    bed.write("/etc/bench/many.conf", nginx_config("many", [*fronts, *containers]))
    bed.unit("many", "ExecStart=/usr/sbin/nginx -e stderr -c /etc/bench/many.conf\nLimitNOFILE=16384\n")
    for front, container in list(zip(fronts, containers))[there - 1:]:
        bed.write(f"/etc/dualdeploy/services.d/other-{front}.yaml", _OTHER.format(front=front, container=container, interval=interval))


def _until_all_healthy(bed: Testbed, count: int) -> None:
    def healthy() -> bool:
        services = agent.request(bed.control, "GET", "/v1/status")["services"]
        return len(services) == count and all(side["health"] == "healthy" for service in services for side in service["sides"].values())
    until(f"{count} services are healthy", healthy, seconds=300, pause=1)


def _flip_others(bare: flip.BareTable, table: Table, count: int, flips: int) -> None:
    """The bare transaction, beside the chains of all other services: what the kernel and nft need for them."""
    have = bare.others
    script = ""
    for i in range(have, count - 1):
        script += _other_transaction(bare.there, i)
    if script:
        bare.add(script)
    bare.others = count - 1
    for committed_ms, _ in bare.transactions(flips):
        table.add(_named(count), nft_ms=committed_ms)


def _other_transaction(transaction: str, number: int) -> str:
    """The same for another service. No lease: they stay flipped for as long as it takes."""
    lines = [line for line in transaction.splitlines() if not line.startswith("delete element")]
    text = "\n".join(lines).replace("-web", f"-other{number}").replace(f" {FRONT} ", f" {_OTHER_FRONT + number} ")
    return text.replace(f":{CONTAINER} ", f":{_OTHER_CONTAINER + number} ").replace("timeout 60000ms ", "timeout 1d ") + "\n"


def _idle(bed: Testbed, table: Table, variant: str, pids: list[int], seconds: int) -> None:
    note(f"scale: {variant}, idle for {seconds} s")
    before = cpu(pids)
    begun = time.monotonic()
    time.sleep(seconds)  # The measurement itself: nothing happens.
    spent = cpu(pids).since(before)
    took_s = time.monotonic() - begun
    table.add(variant, cpu_percent=100 * spent.all_s / took_s, children_percent=100 * spent.children_s / took_s,
              pss_mb=memory_mb(pids, "Pss"), rss_mb=memory_mb(pids, "Rss"))


def _haproxy_proxies(count: int, interval: str) -> str:
    """Of the same servers, checked as the agent checks them."""
    ports = [(FRONT, CONTAINER)] + [(_OTHER_FRONT + i, _OTHER_CONTAINER + i) for i in range(count - 1)]
    text = f"defaults bench\n    mode http\n    option httpchk GET /\n    default-server check inter {interval}\n    timeout check 5s\n"
    text += "    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"
    for front, container in ports:
        text += f"backend b{front}\n    server rpm 127.0.0.1:{front}\n    server container 127.0.0.1:{container}\n"
    return text


def _checks_per_core(bed: Testbed, there: int, settings: Settings) -> Table:
    """Checks that were answered, by the core time that they cost the one who asked."""
    table = Table(f"checks every {_BUSY_INTERVAL_MS} ms", [Column("checks/s", "checks_per_s"), Column("CPU % of a core", "cpu_percent"),
                                                          Column("checks per s of a core", "per_core_s")])
    count = min(there, _BUSY_SERVICES)
    bed.inside("sh", "-c", "rm -f /etc/dualdeploy/services.d/other-*")
    _make_others(bed, 1, count, f"{_BUSY_INTERVAL_MS}ms")
    bed.inside("systemctl", "restart", "dualdeployd")
    _until_all_healthy(bed, count)
    _busy(bed, table, f"agent, {_named(count)}", [bed.main_pid("dualdeployd")], settings)
    bed.inside("systemctl", "stop", "dualdeployd")
    with Haproxy(bed, _haproxy_proxies(count, f"{_BUSY_INTERVAL_MS}ms")):
        _busy(bed, table, f"HAProxy, {_named(count)}", family(bed.main_pid("bench-haproxy")), settings)
    return table


def _busy(bed: Testbed, table: Table, variant: str, pids: list[int], settings: Settings) -> None:
    note(f"scale: {variant}, checks every {_BUSY_INTERVAL_MS} ms")
    for _ in range(settings.rounds):
        answered, before, begun = _answered(bed), cpu(pids), time.monotonic()
        time.sleep(settings.load_seconds)  # The measurement itself.
        checks, spent, took_s = _answered(bed) - answered, cpu(pids).since(before), time.monotonic() - begun
        table.add(variant, checks_per_s=checks / took_s, cpu_percent=100 * spent.all_s / took_s, per_core_s=checks / spent.all_s)


def _answered(bed: Testbed) -> int:
    """Requests that the server of the others has answered so far (nginx's stub_status)."""
    text = bed.inside("curl", "-s", f"http://127.0.0.1:{_OTHER_FRONT}/status")
    return int(text.splitlines()[2].split()[2])
