"""The page's own look: what settings and `agents.toml` may say of it."""

import base64
from pathlib import Path

import pytest

from cmw_agent.config.agent_profiles import BUILT_IN, load_profiles
from cmw_agent.config.look import Look
from cmw_agent.config.pictures import MAX_BYTES, PictureError, read_picture
from cmw_agent.config.settings import SettingsError, load_settings
from cmw_agent.core.errors import StartupError
from tests.harness import settings_for

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><defs><linearGradient id="a"/></defs>'
    b'<path fill="url(#a)" d="M0 0h8v8z"/><use href="#a"/></svg>'
)


def svg(inside: str, attributes: str = "") -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{inside}</svg>'.encode()


@pytest.mark.parametrize(
    ("content", "media_type"), [(PNG, "image/png"), (SVG, "image/svg+xml")], ids=["png", "svg"]
)
def test_a_picture_is_read_from_a_file_and_from_an_address(
    tmp_path: Path, content: bytes, media_type: str
) -> None:
    (tmp_path / "logo").write_bytes(content)
    of_file = read_picture("logo", tmp_path)
    assert (of_file.media_type, of_file.content) == (media_type, content)
    assert read_picture(of_file.uri, tmp_path) == of_file
    assert content.hex() not in repr(of_file)


@pytest.mark.parametrize(
    "content",
    [
        svg("<script>alert(1)</script>"),
        svg("<foreignObject/>"),
        svg("<image/>"),
        svg("<style>a{}</style>"),
        svg("<animate/>"),
        svg("<a/>"),
        svg('<path onclick="x()"/>'),
        svg("", 'onload="x()"'),
        svg('<path fill="url(https://evil.example)"/>'),
        svg('<path style="fill:red"/>'),
        svg('<use href="https://evil.example/x.svg#a"/>'),
        svg('<use xmlns:x="http://www.w3.org/1999/xlink" x:href="data:image/svg+xml,a"/>'),
        svg('<script xmlns="http://www.w3.org/1999/xhtml"/>'),
        b'<!DOCTYPE svg [<!ENTITY a "b">]>' + svg("&a;"),
        b'<?xml-stylesheet href="x.css"?>' + svg(""),
        svg("<path>"),
        svg("").decode().encode("utf-16"),
        b"GIF89a",
        b"<html></html>",
        b"",
        PNG + bytes(MAX_BYTES),
    ],
)
def test_what_could_run_or_fetch_something_is_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "logo").write_bytes(content)
    with pytest.raises(PictureError):
        read_picture("logo", tmp_path)


@pytest.mark.parametrize(
    "source", ["data:image/png;base64,@@@", "data:", "absent.png", "a\nb", "."]
)
def test_a_picture_that_cannot_be_read_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(PictureError):
        read_picture(source, tmp_path)


def test_settings_say_how_the_page_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logo.png").write_bytes(PNG)
    values = {
        "NAME": "Ask Acme",
        "LOGO": str(tmp_path / "logo.png"),
        "COLOUR": "#7C3AED",
        "WELCOME": "Hello!",
        "EXAMPLES": "One? | Two?",
        "FOOTER": "none",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"CMW_{name}", value)
    look = load_settings(None).look
    assert look.logo is not None
    assert look == Look("Ask Acme", look.logo, "#7c3aed", None, "Hello!", ("One?", "Two?"), "")
    monkeypatch.setenv("CMW_EXAMPLES", "none")
    assert load_settings(None).look.examples == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("absent.png", "it cannot be read .No such file or directory."),
        ("data:,x", "it is another kind of file"),
    ],
)
def test_a_picture_that_cannot_be_used_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("CMW_ICON", value)
    with pytest.raises(SettingsError, match=rf"^CMW_ICON must be [^\n]*: {said}$"):
        load_settings(None)


def test_an_agent_looks_as_the_settings_say_except_for_what_it_sets(tmp_path: Path) -> None:
    (tmp_path / "shop.svg").write_bytes(SVG)
    (tmp_path / "agents.toml").write_text(
        """
        [[agents]]
        id = "shop"
        logo = "shop.svg"
        colour = "#112233"
        examples = []
        footer = ""
        """
    )
    profiles = load_profiles(settings_for(tmp_path, name="Acme", welcome="Hi"))
    shop = profiles["shop"].look
    assert (shop.name, shop.welcome, shop.colour) == ("Acme", "Hi", "#112233")
    assert (shop.examples, shop.footer) == ((), "")
    assert shop.logo is not None
    assert shop.logo.content == SVG
    assert profiles[BUILT_IN].look.logo is None


@pytest.mark.parametrize(
    "line",
    [
        'logo = "absent.svg"',
        "logo = 3",
        'colour = "teal"',
        'welcome = ""',
        'examples = "one"',
        'examples = ["a\\nb"]',
        f'footer = "{"x" * 201}"',
    ],
)
def test_a_wrong_look_of_an_agent_stops_the_start_with_one_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "agents.toml").write_text(f'[[agents]]\nid = "shop"\n{line}\n')
    with pytest.raises(
        StartupError, match=rf"agent 'shop': {line.split(maxsplit=1)[0]} must be "
    ) as caught:
        load_profiles(settings_for(tmp_path))
    assert "\n" not in str(caught.value)
