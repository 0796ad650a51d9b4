"""What happens inside the compose file's `postgres`: the documentation's commands, on a PostgreSQL of the wheel."""

import os
import subprocess
from pathlib import Path

import psycopg

from tests.compose import ROOT, SECRETS, load_compose
from tests.servers import PostgreSQL

SERVICE = load_compose(SECRETS)["services"]["postgres"]
USER, DATABASE = SERVICE["environment"]["POSTGRES_USER"], SERVICE["environment"]["POSTGRES_DB"]
IN_POSTGRES = "docker compose exec -T postgres "
SCRIPTS = next(volume for volume in SERVICE["volumes"] if "initdb" in volume).split(":")
TIMEOUT_SECONDS = 60


def make_database(postgresql: PostgreSQL) -> None:
    """Make the superuser and the empty database of a new volume; the one before, if any, is lost."""
    with psycopg.connect(postgresql.url, autocommit=True) as admin:
        if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [USER]).fetchone() is None:
            admin.execute(f"CREATE ROLE {USER} SUPERUSER LOGIN".encode())
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)".encode())
        admin.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}".encode())


def run_scripts(postgresql: PostgreSQL, folder: Path) -> None:
    """Run the scripts of a new volume, as the image does."""
    for script in sorted((ROOT / SCRIPTS[0]).glob("*.sql")):
        run_in_postgres(postgresql, f"psql --username={USER} --dbname={DATABASE} --file={script}", folder)


def run_in_postgres(postgresql: PostgreSQL, command: str, folder: Path) -> None:
    """Run what stands behind `docker compose exec -T postgres`, with our shell's redirections."""
    environment = SERVICE["environment"] | {
        "PATH": f"{postgresql.programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgresql.port),
    }
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", command.replace(SCRIPTS[1], str(ROOT / SCRIPTS[0]))],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def address(postgresql: PostgreSQL, role: str) -> str:
    """The database's address for a role."""
    return f"postgresql://{role}@127.0.0.1:{postgresql.port}/{DATABASE}"
