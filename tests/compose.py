"""Reads `docker-compose.yml` as Docker Compose does, for the tests that run its commands without Docker."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
# The innermost ${NAME}, ${NAME:-default}, ${NAME:+replacement} or ${NAME:?message}; the file uses no other form.
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-+?])([^${}]*))?\}")


# What must be in `.env`.
SECRETS = {
    "SECRET_KEY": "compose-test-key-0123456789-0123456789-0123456789-",
    "POSTGRES_PASSWORD": "it's $ecret",
    "POSTGRES_OWNER_PASSWORD": "the owner's",
    "POSTGRES_WEB_PASSWORD": "the web's \\\"",
    "REDIS_PASSWORD": "0123456789abcdef",
}


class ComposeError(Exception):
    """What Compose would print, and stop."""


def load_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """Parse the file with these variables, as if they were all that `.env` and the shell have."""

    def value(match: re.Match[str]) -> str:
        given, operator, word = variables.get(match[1], ""), match[2], match[3]
        if operator == "?" and not given:
            raise ComposeError(word)
        if operator == "+":
            return word if given else ""
        return given or (word if operator == "-" else "")

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(item) for key, item in node.items()}
        if isinstance(node, list):
            return [filled(item) for item in node]
        while isinstance(node, str) and VARIABLE.search(node):
            node = VARIABLE.sub(value, node)
        return node

    parsed: dict[str, Any] = filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    return parsed
