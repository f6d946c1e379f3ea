"""Users are told what models do not read of their files: at the file, below the answer, in exports."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from cmw_agent.conversations.export import formats, written
from cmw_agent.files.notes import checked, sentence_of, with_window
from cmw_agent.identity import channel_principals
from cmw_agent.language import languages
from cmw_agent.web.page import rendering
from memory.records import ConversationOrigin, NewTurn
from tests import papers
from tests.harness import Browser, served, settings_for
from tests.isolation.test_files import put
from tests.isolation.world import app_with_model
from tests.rest import KEYS, client
from tests.service import all_events, running_app, session_of, turn_end

GUESSED = "It was read as Windows-1251, which was guessed."
OLD_TEXT = "Договор поставки от 3 мая".encode("cp1251")
RUSSIAN = languages().of("ru")


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        (None, None),
        ("empty", "No text was found in it, so models read nothing of it."),
        ("cut:200000", "Only its first 200,000 characters were read."),
        (
            "encoding:KOI8-R broken:2",
            "It was read as KOI8-R, which was guessed. 2 characters of it are damaged.",
        ),
        ("unheard-of:1", None),
        ("cut", None),
        ("parts:x", None),
    ],
)
def test_codes_become_sentences_and_unknown_ones_none(
    codes: str | None, sentence: str | None
) -> None:
    assert sentence_of(codes) == sentence


@pytest.mark.parametrize(
    "said", [None, 3, "", "x" * 500, "Cut:1", "cut:1\n", "a b:<script>", ["cut"]]
)
def test_what_a_worker_says_is_taken_for_codes_only_where_it_is_some(said: object) -> None:
    assert checked(said) is None
    assert checked("cut:200000 encoding:GB-18030") == "cut:200000 encoding:GB-18030"


def test_a_text_longer_than_models_are_given_is_noted() -> None:
    assert with_window("cut:200000", 200_000, 200_000) == "cut:200000"
    assert with_window("cut:200000", 200_000, 40_000) == "cut:200000 window:40000:200000"
    note = sentence_of(with_window(None, 50_000, 40_000))
    assert note == "Models are given only its first 40,000 of 50,000 characters."


async def test_an_upload_says_what_was_guessed_in_the_reader_s_language(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        await alice.open()
        _, plain = await put(alice, b"plain words")
        assert plain["note"] is None
        _, stored = await put(alice, OLD_TEXT, **{"accept-language": "en"})
        assert stored["note"] == GUESSED
        _, stored = await put(alice, OLD_TEXT, **{"accept-language": "ru"})
        assert "Windows-1251" in stored["note"]
        assert "кодировке" in stored["note"]


async def test_a_message_shows_the_note_of_its_file_and_so_do_exports(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        file = await runtime.files.add(session.principal, "a.txt", "", body(OLD_TEXT))
        await all_events(runtime.chat.turn(session, "look", key="1", files=[file.file_id]))
        conversation = session.conversation_id
        assert conversation is not None
        files = await session.memory.files_of(session.owner, conversation)
        (part, _) = rendering.question("look", files, languages().english)
        assert part["metadata"]["files"][0]["note"] == GUESSED
        (part, _) = rendering.question("look", files, RUSSIAN)
        assert "кодировке" in part["metadata"]["files"][0]["note"]
        stored = await runtime.history.conversation(session.principal, conversation)
        for ending, form in formats(languages().english).items():
            pages = runtime.history.messages(session.principal, conversation)
            finder = runtime.history.files_of(session.principal, conversation)
            pieces = [piece async for piece in written(form, stored, pages, finder)]
            text = b"".join(pieces).decode()
            assert "a.txt" in text, ending
            assert GUESSED in text, ending
        attached = {"name": "a.txt", "media_type": "text/plain", "note": GUESSED}
        finder = runtime.history.files_of(session.principal, conversation)
        pages = runtime.history.messages(session.principal, conversation)
        form = formats(languages().english)["json"]
        found = b"".join([piece async for piece in written(form, stored, pages, finder)])
        assert orjson.loads(found)["messages"][0]["attached"] == [attached]


async def test_a_text_that_models_are_not_given_whole_is_noted_at_the_file(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, history_tokens=300)  # room for 1,200 characters
    async with running_app(settings) as runtime:
        session = await session_of(runtime)
        long = await runtime.files.add(session.principal, "long.txt", "", body(b"a" * 1_300))
        assert sentence_of(long.notes) == (
            "Models are given only its first 1,200 of 1,300 characters."
        )
        turn = runtime.chat.turn(session, "look", key="1", files=[long.file_id])
        # It stands at the file, so it does not stand below the answer as well.
        assert turn_end(await all_events(turn)).sentence is None


async def test_what_several_files_displace_is_told_below_the_answer(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, history_tokens=2_000)  # room for 8,000 characters
    async with running_app(settings) as runtime:
        session = await session_of(runtime)
        ids = []
        for name, content in (
            ("a.txt", b"a" * 4_000),
            ("b.txt", b"b" * 4_000),
            ("c.txt", b"c" * 4_500),
        ):
            file = await runtime.files.add(session.principal, name, "", body(content))
            ids.append(file.file_id)
        turn = runtime.chat.turn(session, "look", key="1", files=ids)
        assert turn_end(await all_events(turn)).sentence == (
            "a.txt was left out of what the model reads: other files take all the room. "
            "Of b.txt the model read only the first 3,500 characters: other files take the rest of "
            "the room."
        )
        turn = runtime.chat.turn(session, "and?", key="2")
        assert turn_end(await all_events(turn)).sentence is None
        conversation = session.conversation_id or ""
        contents = await runtime.files.contents(session.principal, conversation, [1], chars=8_000)
        texts = [part["text"] for part in contents[1]]
        assert texts[0] == "[File: a.txt]\n[The rest was left out.]"
        assert texts[1].endswith("b" * 3_500 + "\n[The rest was left out.]")
        assert texts[2].endswith("c" * 4_500)


async def test_the_model_reads_the_notes_too_and_sees_the_pages_of_a_scan(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path, extraction_seconds=200)) as runtime:
        session = await session_of(runtime)
        scan = papers.picture((600, 800), "PDF")
        file = await runtime.files.add(session.principal, "scan.pdf", "", body(scan))
        await all_events(runtime.chat.turn(session, "read", key="1", files=[file.file_id]))
        conversation = session.conversation_id or ""
        contents = await runtime.files.contents(session.principal, conversation, [1], chars=100)
        text, picture = contents[1]
        assert text["text"] == f"[File: scan.pdf]\n[{sentence_of(file.notes)}]"
        assert "1 of its 1 pages have no text" in text["text"]
        assert picture["image_url"]["url"].startswith("data:image/png;base64,")


async def test_rest_lists_the_files_of_a_message_with_their_notes(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "memory", api_keys=KEYS) as here:
        runtime = here.app.application.runtime
        principal = channel_principals.client("shop", "assistant", "s1")
        async with client(here.url) as shop:
            await shop.say("hello", "s1")
            file = await runtime.files.add(principal, "a.txt", "", body(OLD_TEXT))
            (conversation,) = (await shop.ask("GET", "/api/chat/assistant/sessions")).json[
                "sessions"
            ]
            origin = ConversationOrigin()
            question = NewTurn(
                conversation["conversation_id"],
                "look",
                key="f",
                origin=origin,
                files=[file.file_id],
            )
            await runtime.memory_of(principal).begin_turn(principal.id, question)
            path = "/api/chat/assistant/sessions/s1"
            history = (await shop.ask("GET", path)).json
            files = [item for message in history["messages"] for item in message["files"]]
            assert files == [
                {
                    "id": file.file_id,
                    "name": "a.txt",
                    "media_type": "text/plain",
                    "size": len(OLD_TEXT),
                    "url": f"{path}/files/{file.file_id}",
                    "note": GUESSED,
                }
            ]
            got = await shop.ask("GET", files[0]["url"])
            assert got.body == OLD_TEXT
