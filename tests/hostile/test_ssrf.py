"""Hostile 43: URLs in what users send open no connection from the server."""

import asyncio
import contextlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import papers
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, served, settings_for
from tests.isolation.test_files import put


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address of this machine, and what was sent there."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}", heard


def linked_document(address: str) -> bytes:
    """A Word document whose picture lies elsewhere."""
    out = io.BytesIO()
    relation = (
        '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/'
        '2006/relationships"><Relationship Id="rId99" Type="http://schemas.openxmlformats.org/'
        f'officeDocument/2006/relationships/image" Target="{address}/x.png" '
        'TargetMode="External"/></Relationships>'
    ).encode()
    with (
        zipfile.ZipFile(io.BytesIO(papers.word("words"))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.namelist():
            content = relation if entry == "word/_rels/document.xml.rels" else old.read(entry)
            new.writestr(entry, content)
    return out.getvalue()


def pages(address: str) -> dict[str, bytes]:
    """Files that name an address wherever their kind can."""
    page = (
        f"<html><head><base href='{address}/'><link rel=stylesheet href='{address}/s.css'>"
        f"<meta http-equiv=refresh content='0;url={address}'></head><body>words"
        f"<img src='{address}/i.png'><iframe src='{address}'></iframe>"
        "<a href='file:///etc/passwd'>a file</a><img src='file:///etc/passwd'></body></html>"
    )
    return {
        "page.html": page.encode(),
        "notes.md": f"![i]({address}/m.png) words <img src='{address}/r.png'>".encode(),
        "sheet.csv": f'=WEBSERVICE("{address}"),words'.encode(),
        "linked.docx": linked_document(address),
    }


@pytest.mark.slow
async def test_addresses_in_files_and_messages_open_no_socket(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"model": "echo", "extraction_seconds": 120}
    async with (
        listening() as (address, heard),
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, **changes)) as app,
        Browser(app.url) as browser,
    ):
        tab = await browser.open()
        ids = []
        for name, content in pages(address).items():
            status, told = await put(browser, content, name)
            if status == 200:
                ids.append(told["id"])
        assert len(ids) >= 3
        for target in (address, "http://169.254.169.254/latest", "file:///etc/passwd"):
            event = await tab.run("send", [f"read {target}", "", json.dumps(ids), None])
            assert event.error is None
            ids = []
        assert "words" in str(endpoint.requests[0].body)
        assert "root:" not in str([request.body for request in endpoint.requests])
        assert heard == []
