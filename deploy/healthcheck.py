"""A container's health check: `python deploy/healthcheck.py /readyz` ends with 0 if the server answers 200.

It asks by a name that the server accepts, and does without Django, since it runs every few seconds.
"""

import http.client
import os
import sys

host = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().lstrip(".*") or "localhost"
port = int(os.environ.get("PORT", "8000"))
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=8)
connection.request("GET", sys.argv[1], headers={"Host": host})
response = connection.getresponse()
sys.stdout.write(f"{response.status} {response.read(200).decode(errors='replace')}\n")
sys.exit(0 if response.status == http.HTTPStatus.OK else 1)
