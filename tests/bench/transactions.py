"""nftables as the kernel tells of it: when a transaction was committed, whoever asked for it."""

import select
import socket
import struct
import time

_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_SUBSYSTEM_NFTABLES = 10
_NEWCHAIN, _DELCHAIN, _NEWGEN = 3, 5, 15  # enum nf_tables_msg_types in linux/netfilter/nf_tables.h
_HEADER = struct.Struct("=IHHII")
_SO_RCVBUFFORCE = 33


class Commits:
    """The notices of committed transactions in this process's network namespace (nfnetlink's group for nftables). The kernel
    sends those of one transaction together, NEWGEN last, once the new rules are in force."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
        self._socket.setblocking(False)
        self._chains_changed = False

    def __enter__(self) -> "Commits":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> int | None:
        """When the first transaction that makes or removes chains was heard of (CLOCK_MONOTONIC, ns), if one was. The renewal
        of a lease does neither."""
        now = time.monotonic_ns()
        heard = None
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return heard
            while len(data) >= _HEADER.size:
                length, kind = _HEADER.unpack_from(data)[:2]
                heard = self._note(kind, now) or heard
                data = data[(length + 3) & ~3:]

    def _note(self, kind: int, now: int) -> int | None:
        if kind >> 8 != _SUBSYSTEM_NFTABLES:
            return None
        message = kind & 0xff
        if message in (_NEWCHAIN, _DELCHAIN):
            self._chains_changed = True
        if message != _NEWGEN:
            return None
        changed, self._chains_changed = self._chains_changed, False
        return now if changed else None

    def wait(self, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while True:
            readable, _, _ = select.select([self], [], [], max(deadline - time.monotonic(), 0))
            if not readable:
                raise TimeoutError("no transaction was committed")
            if heard := self.read():
                return heard
