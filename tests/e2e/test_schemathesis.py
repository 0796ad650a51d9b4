"""Requests generated from the OpenAPI document get only documented answers."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import CSRF, Cluster
from tests.e2e.server import WebServer

SECONDS = 240  # ten where nothing else runs
EXAMPLES = 15  # beside those that cover each keyword of a schema
CONFIG = """
[checks]
not_a_server_error.enabled = false # a 500 is not documented; a 503 is, and comes from a machine that is too busy
positive_data_acceptance.enabled = false # made-up names and passwords sign nobody in, made-up ids are no messages
[[operations]] # as in DRF, a page_size that makes no sense is the default
include-method = "GET"
checks.negative_data_rejection.enabled = false
[[operations]] # what is no field of a form is not seen, and a form without fields changes nothing
include-method = "PATCH"
checks.negative_data_rejection.enabled = false
"""
SETTINGS = {
    "CHAT_RATE_LIMIT": "0",
    "LOGIN_LIMIT_ACCOUNT": "2000",
    "LOGIN_LIMIT_ADDRESS": "2000",
}


def schemathesis(server: WebServer, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it, with a seed that it names where it finds something."""
    limits = [f"--max-examples={EXAMPLES}", f"--seed={secrets.randbelow(2**32)}", "--phases=coverage,fuzzing"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/api/schema/", *limits, *arguments]
    return subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True, timeout=SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", ["student", "teacher", "nobody"])
def test_no_request_is_answered_in_an_undocumented_way(lone_cluster: Cluster, tmp_path: Path, who: str) -> None:
    server = lone_cluster.start(**SETTINGS)
    (pair,) = lone_cluster.make_pairs()
    cookie = f"csrftoken={CSRF}" if who == "nobody" else getattr(pair, who).cookie
    headers = [f"--header=Cookie: {cookie}", f"--header=X-CSRFToken: {CSRF}"]
    if who != "nobody":  # who would not be themselves any more
        headers += ["--exclude-path=/api/v1/auth/logout/", "--exclude-path=/api/v1/auth/login/"]
    known = f"[parameters]\nconversation_pk = {pair.conversation_id}\n" if who == "teacher" else ""
    (tmp_path / "schemathesis.toml").write_text(known + CONFIG)
    run = schemathesis(server, tmp_path, *headers)
    assert run.returncode == 0, run.stdout + run.stderr + server.log
    assert "database error" not in server.log
