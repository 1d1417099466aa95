"""What else moves traffic between two servers, run in the same instance: HAProxy, nginx's stream proxy, systemd-socket-proxyd."""

import socket
from pathlib import Path

from testbed import CONTAINER, Testbed

HAPROXY_TCP, HAPROXY_HTTP, NGINX_STREAM, SOCKET_PROXYD = 9001, 9002, 9003, 9004
_RUNTIME_SOCKET = "/run/bench-haproxy.sock"

_HAPROXY = f"""\
global
    stats socket {_RUNTIME_SOCKET} level admin
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
_HAPROXY_PROXIES = f"""\
listen tcp
    bind :{HAPROXY_TCP}
    mode tcp
    server container 127.0.0.1:{CONTAINER}
listen http
    bind :{HAPROXY_HTTP}
    mode http
    server container 127.0.0.1:{CONTAINER}
"""
_NGINX_STREAM = f"""\
load_module /opt/bench/ngx_stream_module.so;
daemon off;
user root;
worker_processes auto;
pid /tmp/nginx-stream.pid;
events {{ worker_connections 8192; }}
stream {{ server {{ listen [::]:{NGINX_STREAM} ipv6only=off backlog=4096; proxy_pass 127.0.0.1:{CONTAINER}; }} }}
"""


class Haproxy:
    """With `proxies` besides the global settings. Checks, threads and all that is not said there as HAProxy has it by default."""

    def __init__(self, bed: Testbed, proxies: str = _HAPROXY_PROXIES) -> None:
        self._bed = bed
        self._proxies = proxies

    def __enter__(self) -> "Haproxy":
        self._bed.write("/etc/bench/haproxy.cfg", _HAPROXY + self._proxies)
        command = self._bed.copy_program("/usr/sbin/haproxy")
        self._bed.unit("bench-haproxy", f"Type=notify\n{command} -Ws -f /etc/bench/haproxy.cfg\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._bed.inside("systemctl", "stop", "bench-haproxy")

    @property
    def runtime_socket(self) -> str:
        return str(self._bed.root / _RUNTIME_SOCKET.lstrip("/"))

    def tell(self, command: str) -> str:
        return tell_haproxy(self.runtime_socket, command)


def tell_haproxy(runtime_socket: str, command: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(runtime_socket)
        connection.sendall(command.encode() + b"\n")
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer.decode()


class StreamProxies:
    """nginx's stream proxy and systemd-socket-proxyd, each with a port of its own in front of the container's."""

    def __init__(self, bed: Testbed, stream_module: Path) -> None:
        self._bed = bed
        self._stream_module = stream_module

    def __enter__(self) -> "StreamProxies":
        bed = self._bed
        bed.write("/opt/bench/ngx_stream_module.so", self._stream_module.read_bytes())
        bed.write("/etc/bench/stream.conf", _NGINX_STREAM)
        bed.unit("bench-stream", "ExecStart=/usr/sbin/nginx -e stderr -c /etc/bench/stream.conf\nLimitNOFILE=16384\n")
        bed.write("/run/systemd/system/bench-proxyd.socket", f"[Socket]\nListenStream={SOCKET_PROXYD}\nBacklog=4096\n")
        bed.unit("bench-proxyd", f"ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:{CONTAINER}\n", start=False)
        bed.inside("systemctl", "start", "bench-proxyd.socket")
        return self

    def __exit__(self, *_: object) -> None:
        self._bed.inside("systemctl", "stop", "bench-stream", "bench-proxyd.socket", "bench-proxyd.service")
