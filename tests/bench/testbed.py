"""The instance that everything is measured on: nginx as the unit and as the container, the agent, and its peers."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import agent
from namespaces import Namespace, host_pid

TOP = Path(__file__).resolve().parents[2]
ADDRESS = "192.0.2.1"
FRONT, CONTAINER = 80, 8080
SERVICE = "web"

# One worker, no log, whole answers from memory: what is measured is the way to it.
_NGINX = """\
daemon off;
user root;
worker_processes 1;
pid /tmp/nginx-{name}.pid;
error_log stderr;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path /tmp/{name}-body; proxy_temp_path /tmp/{name}-proxy; fastcgi_temp_path /tmp/{name}-fastcgi;
    uwsgi_temp_path /tmp/{name}-uwsgi; scgi_temp_path /tmp/{name}-scgi;
    server {{
{listens}
        add_header X-Side {name};
        location = /status {{ stub_status; }}
        location / {{ return 200 "hello from {name}\\n"; }}
    }}
}}
"""

_SERVICE = """\
ports: [{{front: {front}, container: {container}}}]
parity: false
bake: 0s
proof: {proof}
rpm:
  unit: rpm.service
  check: {{http: {{path: /}}, interval: 1s, timeout: 5s}}
  restart: &at_once {{delay: 100ms, delay_max: 100ms, limit: 1000, reset: 100ms}}
container:
  image: bench
  check: {{http: {{path: /}}, interval: 1s, timeout: 5s}}
  restart: *at_once
"""


def nginx_config(name: str, ports: list[int]) -> str:
    listens = "\n".join(f"        listen [::]:{port} ipv6only=off backlog=4096;" for port in ports)
    return _NGINX.format(name=name, listens=listens)


class Testbed:
    """Boots at the beginning of `with`, and is gone at its end."""

    def __init__(self, name: str, rpms: Path) -> None:
        self.name = name
        self._rpms = rpms
        self._tool = TOP / "tests/instance/instance"
        self.server_netns = f"dd-{name}-srv"
        self.client_netns = f"dd-{name}-cli"

    def __enter__(self) -> "Testbed":
        self._instance("down")
        try:
            self._instance("up")
            self.root = Path(f"/proc/{self._leader()}/root")
            self.server = Namespace(self.server_netns)
            self.client = Namespace(self.client_netns)
            self._set_up()
        except BaseException:
            self._instance("down")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in (self.server, self.client):
            namespace.close()
        self._instance("down")

    # ---- The instance --------------------------------------------------------------------------------------------------

    def inside(self, *command: str, check: bool = True) -> str:
        done = subprocess.run([self._tool, "exec", self.name, "--", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)

    def unit(self, name: str, service: str, start: bool = True) -> None:
        """A unit with this [Service] section."""
        self.write(f"/run/systemd/system/{name}.service", f"[Service]\n{service}")
        self.inside("systemctl", "daemon-reload")
        if start:
            self.inside("systemctl", "restart", f"{name}.service")

    def main_pid(self, unit: str) -> int:
        """The host's number of a unit's main process."""
        return host_pid(int(self.inside("systemctl", "show", "-P", "MainPID", unit)), self.server_netns)

    def forget_connections(self) -> None:
        """Tracked connections of an earlier run have the ports that a later one needs."""
        subprocess.run(["ip", "netns", "exec", self.server_netns, "conntrack", "-F"], check=True, capture_output=True)

    def _instance(self, subcommand: str) -> None:
        subprocess.run([self._tool, subcommand, self.name], check=True, stdout=subprocess.DEVNULL)

    def _leader(self) -> int:
        listed = subprocess.run([self._tool, "list"], check=True, capture_output=True, text=True).stdout
        return next(int(line.split("\t")[2]) for line in listed.splitlines() if line.split("\t")[0] == self.name)

    # ---- Both sides and the agent --------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self.write("/etc/bench/rpm.conf", nginx_config("rpm", [FRONT]))
        self.unit("rpm", "ExecStart=/usr/sbin/nginx -e stderr -c /etc/bench/rpm.conf\nLimitNOFILE=16384\n")
        self._build_image()
        rpm = next(self._rpms.glob("dualdeploy-0*.rpm"))
        self.write("/root/dualdeploy.rpm", rpm.read_bytes())
        self.inside("rpm", "-i", "--nodeps", "/root/dualdeploy.rpm")
        self.write_service(SERVICE)
        self.inside("systemctl", "start", "dualdeployd")
        self.until_healthy()

    def _build_image(self) -> None:
        """The unit's own nginx, in a container: the same program behind every variant."""
        self.write("/root/image/etc/bench/container.conf", nginx_config("container", [CONTAINER]))
        self.write("/root/Dockerfile", "FROM scratch\nCOPY . /\nENTRYPOINT [\"/usr/sbin/nginx\", \"-e\", \"stderr\", \"-c\", "
                                       "\"/etc/bench/container.conf\"]\n")
        self.inside("sh", "-ec", "mkdir -m 1777 -p /root/image/tmp && cp -L --parents /usr/sbin/nginx $(ldd /usr/sbin/nginx | "
                                 "grep -o '/[^ ]*') /etc/passwd /etc/group /root/image && docker build -q -t bench -f /root/Dockerfile "
                                 "/root/image")

    def write_service(self, name: str, proof: bool = True, front: int = FRONT, container: int = CONTAINER) -> None:
        self.write(f"/etc/dualdeploy/services.d/{name}.yaml",
                   _SERVICE.format(front=front, container=container, proof=str(proof).lower()))

    @property
    def control(self) -> str:
        return str(self.root / "run/dualdeploy/control.sock")

    def status(self, service: str = SERVICE) -> dict:
        return agent.request(self.control, "GET", f"/v1/services/{service}")

    def flip(self, side: str, service: str = SERVICE) -> None:
        agent.request(self.control, "POST", f"/v1/services/{service}/flip", {"to": side, "wait": True})

    def reload(self) -> None:
        """Returns when the new configuration is in force, which the agent has on record then."""
        before = self._reloads()
        self.inside("systemctl", "reload", "dualdeployd")
        until("the reload is on record", lambda: self._reloads() > before)

    def _reloads(self) -> int:
        """The number of the newest record of a reload."""
        records = agent.request(self.control, "GET", "/v1/history?limit=1000&all=1")
        return max((record["id"] for record in records if record["kind"] == "config"), default=0)

    def until_healthy(self, service: str = SERVICE) -> None:
        """And no change is under way."""
        def holds() -> bool:
            status = self.status(service)
            return status["change"] is None and all(side["health"] == "healthy" for side in status["sides"].values())
        until(f"both sides of {service} are healthy", holds)

    # ---- Programs of the host, in the instance -------------------------------------------------------------------------

    def copy_program(self, program: str) -> str:
        """With its libraries, but not the C library, which the instance has. Returns what a unit needs to run it."""
        listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        libraries = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
        for file in [program, *libraries]:
            name = os.path.basename(file)
            if not name.startswith(("libc.so", "ld-linux")):
                self.write(f"/opt/bench/{name}", Path(file).read_bytes(), 0o755)
        return f"Environment=LD_LIBRARY_PATH=/opt/bench\nExecStart=/opt/bench/{os.path.basename(program)}"


def until(what: str, holds: Callable[[], bool], seconds: float = 60, pause: float = 0.02) -> None:
    """For what announces itself by no event to this process."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(pause)


def note(text: str) -> None:
    """Progress; the results alone are on stdout."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
