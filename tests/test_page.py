"""The page at `/`: what the server sends to the browser."""

import gzip
import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from tests.people import PASSWORD

STATIC = Path("chat/static/chat")
SCRIPTS = sorted({path.name for path in STATIC.glob("*.js")} - {"use-chat.js"})
STYLES = sorted(path.name for path in STATIC.glob("*.css"))
# As they go over the line: files by Brotli, which every supported browser takes over https, the page by gzip.
FIRST_LOAD_BYTES = 35_000
PAGE_BYTES = 8_500
BROWSER = "gzip, deflate, br, zstd"
LATER = {"apple-touch-icon", "manifest"}  # links that a browser follows when the page is installed


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
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; manifest-src 'self'; "
        "connect-src 'self' ws://localhost:8000 wss://localhost:8000; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types notices"
    )


def test_scripts_and_styles_are_files_of_ours_with_a_hash_in_their_names(client: Client) -> None:
    page = get_page(client)
    assert [script for script in page.all("script") if "src" not in script] == [
        {"id": "texts", "type": "application/json"}  # which nothing runs
    ]
    addresses = [attributes.get("src") or attributes.get("href") for attributes in page.all("script", "link", "img")]
    ours = [str(address) for address in addresses if address]
    name = re.compile(r"/static/chat/[\w-]+\.[0-9a-f]{12}\.(js|css|svg|png|webmanifest)")
    assert all(name.fullmatch(address) for address in ours)
    inline = {"style", "onclick", "onload", "onsubmit"}
    assert not page.all("style")
    assert not any(inline & attributes.keys() for _, attributes in page.tags)


def imports_of(text: str) -> set[str]:
    return set(re.findall(r"""import *\{[^}]*\} *from *"\./([\w.-]+)";""", text))


def test_modules_import_hashed_names_that_the_page_preloads(client: Client) -> None:
    page = get_page(client)
    (script,) = [str(script["src"]) for script in page.all("script") if "src" in script]
    named = {str(link["href"]) for link in page.all("link") if link["rel"] == "modulepreload"}
    found: set[str] = set()
    left = {script}
    while left:
        address = left.pop()
        text = (Path("staticfiles") / address.removeprefix("/static/")).read_text()
        new = {f"/static/chat/{name}" for name in imports_of(text)} - found
        found |= new
        left |= new
    assert found == named
    assert all(re.fullmatch(r"/static/chat/[\w-]+\.[0-9a-f]{12}\.js", address) for address in found)


def test_every_field_has_a_label_and_every_id_used_by_scripts_exists(client: Client) -> None:
    page = get_page(client)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {label["for"] for label in page.all("label") if "for" in label}
    assert {field["id"] for field in page.all("input", "textarea")} == labels | {"search"}  # which is in its label
    for name in SCRIPTS:
        asked = set(re.findall(r"""(?:\$|copyOf|createConnection\(\$)\("([\w-]+)\"""", (STATIC / name).read_text()))
        assert asked - {"demo-password"} <= set(ids), name
    icons = {id for id in ids if str(id).startswith("icon-")}
    used = {str(use["href"])[1:] for use in page.all("use") if "href" in use}
    assert icons - {"icon-sending", "icon-sent", "icon-read", "icon-failed"} == used  # those are set by the script


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_never_read_text_as_html(name: str) -> None:
    script = (STATIC / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser", script)


@pytest.mark.parametrize("name", [*SCRIPTS, *STYLES, "icon.svg", "manifest.webmanifest", "pattern.svg"])
def test_static_files_are_found_and_name_no_other_host(name: str) -> None:
    path = finders.find(f"chat/{name}")
    assert path
    text = Path(str(path)).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://\w|url\((?!.pattern)|@import", text, flags=re.MULTILINE)


@pytest.mark.parametrize("language", ["en", "ar"])
def test_what_is_loaded_first_is_small(client: Client, language: str) -> None:
    response = client.get("/", headers={"accept-encoding": BROWSER, "accept-language": language})
    page = Page(gzip.decompress(response.content).decode())
    loaded = [found for found in page.all("script", "link") if found.get("rel") not in LATER]
    addresses = {str(found.get("src") or found.get("href")) for found in loaded} - {"None"}
    files = [Path("staticfiles") / address.removeprefix("/static/") for address in addresses]
    packed = sum(Path(f"{file}.br").stat().st_size for file in files)
    assert packed < FIRST_LOAD_BYTES
    assert len(response.content) < PAGE_BYTES


@pytest.mark.parametrize("name", [*SCRIPTS, *STYLES])
def test_browsers_load_our_files_without_comments_and_otherwise_unchanged(name: str) -> None:
    manifest = json.loads(Path("staticfiles/staticfiles.json").read_text())["paths"]
    comments = re.compile(r"^\s*/\*.*?\*/|^\s*//.*?$|\s// .*?$|\s/\* .*?\*/$", re.MULTILINE | re.DOTALL)
    file_name = re.compile(r"""["(][^"(]*\.(js|svg)\b""")

    def code_of(text: str) -> str:
        return re.sub(r"[\s;]", "", file_name.sub("", comments.sub("", text)))

    served = (Path("staticfiles") / manifest[f"chat/{name}"]).read_text()
    assert code_of(served) == code_of((STATIC / name).read_text())
    assert not re.search(r"^\s*(/\*|//)", served, re.MULTILINE)


def test_a_page_without_a_session_does_not_ask_whose_it_is(client: Client) -> None:
    assert "data-has-session" not in get_page(client).all("body")[0]
    client.cookies["sessionid"] = "whatever"
    assert "data-has-session" in get_page(client).all("body")[0]


@pytest.mark.parametrize(
    ("accepted", "cookie", "language", "direction"),
    [
        ("", "", "en", "ltr"),
        ("ar-EG,en;q=0.5", "", "ar", "rtl"),
        ("fr", "", "en", "ltr"),
        ("ar", "en", "en", "ltr"),
        ("en", "ar", "ar", "rtl"),
        ("ar", "xx", "ar", "rtl"),
    ],
)
def test_the_language_is_that_of_the_cookie_or_the_browser(
    client: Client, accepted: str, cookie: str, language: str, direction: str
) -> None:
    client.cookies["django_language"] = cookie
    with translation.override(None):
        response = client.get("/", headers={"accept-language": accepted})
    page = Page(response.content.decode())
    assert page.all("html") == [{"lang": language, "dir": direction}]
    assert {button["data-language"] for button in page.all("button") if "data-language" in button} == (
        {"ar", "en"} - {language}
    )


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
