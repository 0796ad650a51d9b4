"""Starts nginx with deploy/nginx.conf; only addresses, ports and the certificate are changed."""

import datetime
import ipaddress
import re
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.compose import ROOT
from tests.debian import program
from tests.servers import free_port

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
START_SECONDS = 20
STOP_SECONDS = 10
MAIN = """
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{}}
http {{
	access_log off;
	gzip on; # as in Debian's nginx.conf
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	{site}
}}
"""


class Nginx:
    """One nginx at localhost with the configuration as shipped, or with `changes` of it, text by text.

    It has what the clients of the tests need of a server: `url`, `ws_url` and `tls`.
    """

    def __init__(self, upstreams: Sequence[int], folder: Path, changes: dict[str, str], *, tls: bool) -> None:
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}"
        self.ws_url = self.url.replace("http", "ws", 1)
        certificate, key = make_certificate(folder)
        self.tls = ssl.create_default_context(cafile=str(certificate))
        site = CONFIGURATION.read_text()
        servers = "\n".join(f"server 127.0.0.1:{port} max_fails=0;" for port in upstreams)
        site = re.sub(r"server 127\.0\.0\.1:8000.*?server 127\.0\.0\.1:8001[^\n]*", servers, site, flags=re.DOTALL)
        changes = changes | {
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port}{' ssl' if tls else ''};",
            "/etc/letsencrypt/live/chat.example.org/fullchain.pem": str(certificate),
            "/etc/letsencrypt/live/chat.example.org/privkey.pem": str(key),
            "chat.example.org": "localhost",
        }
        for shipped, here in changes.items():
            assert shipped in site, shipped
            site = site.replace(shipped, here)
        (folder / "nginx.conf").write_text(MAIN.format(site=site))

    def start(self) -> "Nginx":
        """Start it and return when it answers."""
        path = program("nginx", "nginx")
        assert path
        with (self.folder / "nginx.log").open("ab") as log:
            command = [path, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/metrics", verify=self.tls, trust_env=False).status_code == 404
        return False

    @property
    def log(self) -> str:
        return (self.folder / "nginx.log").read_text()

    def client(self, address: str = "127.0.0.1") -> httpx.Client:
        """`with nginx.client() as http`: a browser at this address of the loopback; it keeps its cookies."""
        transport = httpx.HTTPTransport(local_address=address, verify=self.tls)
        return httpx.Client(base_url=self.url, transport=transport, timeout=20, headers={"Origin": self.url})

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def make_certificate(folder: Path, *hosts: str) -> tuple[Path, Path]:
    """Write a certificate of its own for localhost and these hosts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [*map(x509.DNSName, ("localhost", *hosts)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return certificate, secret


@contextmanager
def nginx(*upstreams: int, folder: Path, changes: dict[str, str] | None = None, tls: bool = True) -> Iterator[Nginx]:
    """nginx in front of whatever listens at these ports."""
    made = Nginx(upstreams, folder, changes or {}, tls=tls).start()
    try:
        yield made
    finally:
        made.close()
