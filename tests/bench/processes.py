"""What a process and its children cost."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Cpu:
    """Seconds of a core so far."""

    own_s: float
    children_s: float  # Of children that have ended and were waited for.

    def since(self, earlier: "Cpu") -> "Cpu":
        return Cpu(self.own_s - earlier.own_s, self.children_s - earlier.children_s)

    @property
    def all_s(self) -> float:
        return self.own_s + self.children_s


def family(pid: int) -> list[int]:
    """The process and all below it, now."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += family(int(child))
    return found


def cpu(pids: list[int]) -> Cpu:
    own_ns = 0
    children_ticks = 0
    for pid in pids:
        own_ns += sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children_ticks += int(fields[13]) + int(fields[14])  # cutime and cstime of proc(5).
    return Cpu(own_ns / 1e9, children_ticks / _TICKS_PER_S)


def memory_mb(pids: list[int], kind: str) -> float:
    """`kind`: Pss (what is shared counts by its share) or Rss. Millions of bytes."""
    total_kib = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total_kib += int(re.search(rf"^{kind}:\s+(\d+) kB", rollup, re.M)[1])
    return total_kib * 1024 / 1e6
