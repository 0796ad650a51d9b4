"""Starts the reverse proxy of docker-compose.yml; only addresses and ports are changed."""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.compose import ROOT, SECRETS, load_compose
from tests.servers import free_port

PROGRAM = Path(sys.executable).parent / "caddy"
CADDYFILE = ROOT / "deploy" / "Caddyfile"
START_SECONDS = 30
STOP_SECONDS = 10


class Proxy:
    """One Caddy with the Caddyfile as shipped, at localhost; with TLS by a certificate authority of its own.

    It has what the clients of the tests need of a server: `url`, `ws_url` and `tls`.
    """

    def __init__(self, upstreams: Sequence[int], folder: Path, *, domain: str = "") -> None:
        self.upstreams, self.folder = upstreams, folder
        self.port, self.admin = free_port(), free_port()
        self.plain_port = free_port() if domain else self.port
        service = load_compose(SECRETS | {"DOMAIN": domain})["services"]["proxy"]
        scheme = "https" if domain else "http"
        self.url = f"{scheme}://localhost:{self.port}"
        self.ws_url = self.url.replace("http", "ws", 1)
        self.tls: ssl.SSLContext | None = None
        self.environment = service["environment"] | {
            "UPSTREAMS": " ".join(f"127.0.0.1:{port}" for port in upstreams),
            "CADDY_ADMIN": f"127.0.0.1:{self.admin}",
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        }
        self.environment |= {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signs for localhost."""
        return self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def configuration(self) -> dict[str, Any]:
        """The shipped configuration as Caddy understands it, on our ports and without changing this machine."""
        command = [str(PROGRAM), "adapt", "--adapter", "caddyfile", "--config", str(CADDYFILE)]
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=30)
        found: dict[str, Any] = json.loads(done.stdout)
        http = found["apps"]["http"]
        (server,) = http["servers"].values()
        server["listen"] = [f"127.0.0.1:{self.port}"]
        http |= {"http_port": self.plain_port, "https_port": self.port if self.plain_port != self.port else free_port()}
        found["apps"]["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
        return found

    def start(self) -> "Proxy":
        """Start it and return when it answers, with whatever it says of the processes."""
        config = self.folder / "caddy.json"
        config.write_text(json.dumps(self.configuration()))
        with (self.folder / "caddy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "run", "--config", config], env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        if self.url.startswith("https") and self.tls is None:
            with suppress(FileNotFoundError):
                self.tls = ssl.create_default_context(cafile=str(self.authority))
        with suppress(httpx.TransportError):
            httpx.get(f"{self.url}/metrics", verify=self.tls or False, trust_env=False, timeout=5)
            return self.tls is not None or not self.url.startswith("https")
        return False

    def reload(self) -> None:
        """Take the configuration anew, as `caddy reload` does, even if nothing in it has changed."""
        content = (self.folder / "caddy.json").read_bytes()
        headers = {"Content-Type": "application/json", "Cache-Control": "must-revalidate"}
        address = f"http://127.0.0.1:{self.admin}/load"
        httpx.post(address, content=content, headers=headers, trust_env=False, timeout=20).raise_for_status()

    @property
    def log(self) -> str:
        return (self.folder / "caddy.log").read_text()

    def client(self, address: str = "127.0.0.1") -> httpx.Client:
        """`with proxy.client() as http`: a browser at this address of the loopback; it keeps its cookies."""
        transport = httpx.HTTPTransport(local_address=address, verify=self.tls or False)
        return httpx.Client(base_url=self.url, transport=transport, timeout=20, headers={"Origin": self.url})

    def close(self) -> None:
        """End it."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextmanager
def proxy(*upstreams: int, folder: Path, domain: str = "") -> Iterator[Proxy]:
    """The proxy in front of whatever listens at these ports; with a domain, which must be localhost, over TLS."""
    made = Proxy(upstreams, folder, domain=domain)
    try:
        yield made.start()
    finally:
        made.close()
