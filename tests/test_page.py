"""The page at `/`: what the server gives to the browser."""

import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

from tests.cast import PASSWORD

STATIC = Path("chat/static/chat")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def get_page(client: Client) -> Page:
    response = client.get("/")
    assert response.status_code == 200
    return Page(response.content.decode())


def test_the_page_needs_nobody_signed_in_and_no_database(client: Client) -> None:
    assert get_page(client).all("form", "main")


def test_the_page_is_never_cached_and_runs_nothing_from_elsewhere(client: Client) -> None:
    response = client.get("/", headers={"host": "localhost:8000"})
    assert response.headers["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self' ws://localhost:8000 wss://localhost:8000; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def test_scripts_and_styles_are_files_of_ours_with_a_hash_in_their_names(client: Client) -> None:
    page = get_page(client)
    assert [script.keys() - {"type", "src"} for script in page.all("script")] == [set()]
    addresses = [attributes.get("src") or attributes.get("href") for attributes in page.all("script", "link", "img")]
    assert len(addresses) == 4
    assert all(re.fullmatch(r"/static/chat/\w+\.[0-9a-f]{12}\.(js|css|svg)", str(address)) for address in addresses)
    inline = {"style", "onclick", "onload", "onsubmit"}
    assert not page.all("style")
    assert not any(inline & attributes.keys() for _, attributes in page.tags)


def test_every_field_has_a_label_and_every_id_that_the_script_asks_for_is_there(client: Client) -> None:
    page = get_page(client)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {field["id"] for field in page.all("input", "textarea")} == {label["for"] for label in page.all("label")}
    script = (STATIC / "page.js").read_text()
    asked = set(re.findall(r"""(?:\$|on)\("([\w-]+)\"""", script)) - {"demo-password"}
    assert asked <= set(ids)


def test_the_script_never_reads_text_as_html() -> None:
    script = (STATIC / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


@pytest.mark.parametrize("name", ["page.js", "page.css", "icon.svg"])
def test_static_files_are_found_and_name_no_other_host(name: str) -> None:
    path = finders.find(f"chat/{name}")
    assert path
    text = Path(str(path)).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|url\(|@import|^import ", text, flags=re.MULTILINE)


@pytest.mark.django_db
def test_demo_accounts_are_offered_in_development_only(client: Client, settings: Any) -> None:
    call_command("seed_demo", "--force", stdout=StringIO())
    assert PASSWORD not in client.get("/").content.decode()
    settings.DEBUG = True
    offered = [button["data-username"] for button in get_page(client).all("button") if "data-username" in button]
    assert offered == ["teacher1", "trainer1", *(f"student{number}" for number in range(1, 7))]
    assert PASSWORD in client.get("/").content.decode()


@pytest.mark.django_db
def test_without_demo_accounts_none_are_offered(client: Client, settings: Any) -> None:
    settings.DEBUG = True
    assert PASSWORD not in client.get("/").content.decode()
