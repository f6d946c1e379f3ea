"""Isolation: attached files are read by the model and shown on the page for their owner alone."""

import base64
import json
from pathlib import Path

from cmw_agent.web.page.drawn_message import DrawnMessage
from tests import papers
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, Tab, canary, last_text, served, settings_for, texts
from tests.isolation.test_files import put
from tests.rows import rows


async def attach(tab: Tab, browser: Browser, content: bytes, name: str) -> str:
    status, told = await put(browser, content, name)
    assert status == 200, told
    return str(told["id"])


async def ask(tab: Tab, text: str, *files: str) -> str:
    event = await tab.run("send", [text, "", json.dumps(files), None])
    return last_text(event.value) if event.error is None else event.error


def pictures(value: list[DrawnMessage]) -> list[str]:
    files = [file for item in value for file in (item["metadata"] or {}).get("files", [])]
    return [f"files/{file['id']}" for file in files if file["picture"]]


async def test_a_model_reads_what_the_message_brings_and_the_next_turns_too(
    tmp_path: Path,
) -> None:
    secret = canary()
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")) as app,
        Browser(app.url) as browser,
    ):
        tab = await browser.open()
        document = await attach(tab, browser, papers.word(secret), "report.docx")
        image = await attach(tab, browser, papers.picture(), "red.png")
        event = await tab.run("send", ["look", "", json.dumps([document, image]), None])
        await ask(tab, "and now?")
        for request in endpoint.requests:
            (first,) = [m for m in request.messages if m["role"] == "user"][:1]
            parts = first["content"]
            assert parts[0] == {"type": "text", "text": "look"}
            assert secret in parts[1]["text"]
            url = parts[2]["image_url"]["url"]
            assert base64.b64decode(url.partition(",")[2]).startswith(b"\x89PNG")
        shown = texts(event.value, "user")
        assert f"files/{document}" in shown[0]
        assert shown[1] == "look"
        assert pictures(event.value) == [f"files/{image}"]
        (row,) = rows(tmp_path, "SELECT session_id FROM agent_sessions")
        again = await browser.open(query=f"?c={row['session_id']}")
        opened = await again.run("open_page", [])
        assert texts(opened.value, "user")[:2] == shown[:2]
        assert pictures(opened.value) == [f"files/{image}"]


async def test_files_alone_are_a_message(tmp_path: Path) -> None:
    secret = canary()
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")) as app,
        Browser(app.url) as browser,
    ):
        tab = await browser.open()
        document = await attach(tab, browser, secret.encode(), "report.txt")
        sent = ["  ", "a" * 32, json.dumps([document]), None]
        await tab.run("send", sent)
        event = await tab.run("send", sent)  # the same once more, by its key
        (shown,) = texts(event.value, "user")
        assert f"files/{document}" in shown
        (request,) = [r for r in endpoint.requests if secret in str(r.body)]
        (part,) = request.messages[-1]["content"]
        assert part == {"type": "text", "text": f"[File: report.txt]\n{secret}"}
        (row,) = rows(tmp_path, "SELECT session_id, title FROM agent_sessions")
        assert row["title"] == "report.txt"
        assert rows(tmp_path, "SELECT content FROM agent_messages WHERE role = 'user'") == [
            {"content": ""}
        ]
        again = await browser.open(query=f"?c={row['session_id']}")
        opened = await again.run("open_page", [])
        assert texts(opened.value, "user") == [shown]
        for ending in ("md", "html"):
            url = f"{app.url}/history/export?id={row['session_id']}&format={ending}"
            async with browser.http.get(url) as answer:
                assert answer.status == 200
                assert "File: report.txt" in await answer.text()
        edited = await again.run("edit", ["1", "and what is this?"])
        assert texts(edited.value, "user") == [shown, "and what is this?"]
        assert secret in str(endpoint.requests[-1].body)


async def test_a_blank_message_without_files_is_refused(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")) as app,
        Browser(app.url) as browser,
    ):
        tab = await browser.open()
        assert "The message is empty" in await ask(tab, "  ")
        assert rows(tmp_path, "SELECT 1 FROM agent_messages") == []
        assert endpoint.requests == []


async def test_nobody_attaches_another_s_file(tmp_path: Path) -> None:
    secret = canary()
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        a, b = await alice.open(), await bob.open()
        hers = await attach(a, alice, secret.encode(), "hers.txt")
        foreign, absent = await ask(b, "give", hers), await ask(b, "give", "0" * 32)
        assert foreign.partition(" (error")[0] == absent.partition(" (error")[0]
        assert "was not found" in foreign
        assert endpoint.requests == []
        assert rows(tmp_path, "SELECT 1 FROM agent_messages") == []
        assert secret.encode() not in bytes(b.received)
        assert "You said: take" in await ask(a, "take", hers)
        assert secret in str(endpoint.requests[-1].body)


async def test_a_file_goes_with_its_message_once(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")) as app,
        Browser(app.url) as browser,
    ):
        tab = await browser.open()
        one = await attach(tab, browser, b"words", "a.txt")
        await ask(tab, "first", one)
        assert "was not found" in await ask(tab, "second", one)


async def test_ids_that_are_no_list_are_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")) as app,
        Browser(app.url) as browser,
    ):
        tab = await browser.open()
        for sent in ("{", "{}", "[1]", '"x"', "[" * 5000):
            event = await tab.run("send", ["hello", "", sent, None])
            assert event.error is not None
            assert "not named as they should be" in event.error
        assert rows(tmp_path, "SELECT 1 FROM agent_messages") == []


async def test_a_forgotten_user_s_files_are_gone_and_others_stay(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        a, b = await alice.open(), await bob.open()
        for tab, browser in ((a, alice), (b, bob)):
            await ask(tab, "keep", await attach(tab, browser, b"the same bytes", "same.txt"))
        await a.send("/forget everything")
        assert len(papers.stored_files(tmp_path)) == 1
        (row,) = rows(tmp_path, "SELECT file_id FROM agent_files")
        async with bob.http.get(f"{app.url}/files/{row['file_id']}") as answer:
            assert await answer.read() == b"the same bytes"
