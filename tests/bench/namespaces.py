"""Work done inside a network namespace, by a process that stays there: no program has to be started to be timed."""

import ctypes
import os
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _enter(path: str) -> None:
    if not path:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        return
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.setns(namespace, _CLONE_NEWNET), "setns")
    os.close(namespace)


class Namespace:
    """One worker process in the network namespace of that name (ip netns), or, without a name, in a new one of its own."""

    def __init__(self, name: str = "") -> None:
        path = f"/run/netns/{name}" if name else ""
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=_enter, initargs=(path,))

    def begin(self, function: Callable, *arguments: Any) -> Future:
        return self._pool.submit(function, *arguments)

    def run(self, function: Callable, *arguments: Any) -> Any:
        """What it raises there is raised here."""
        return self.begin(function, *arguments).result()

    def close(self) -> None:
        self._pool.shutdown()


def host_pid(pid: int, netns: str) -> int:
    """The host's number of a process whose number in the instance is `pid`. A container with the host's network counts."""
    network = os.stat(f"/run/netns/{netns}").st_ino
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            numbers = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) >= 2 and int(numbers[1]) == pid and os.stat(status.parent / "ns/net").st_ino == network:
                return int(numbers[0])
        except (OSError, StopIteration):
            continue  # It ended while it was looked at.
    raise ProcessLookupError(f"process {pid} of {netns} is not to be found")
