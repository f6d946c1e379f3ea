"""Voice: what is said goes into the box as text, and answers are read aloud."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, expect

from cmw_agent.config.settings import Settings
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.programs import chromium
from tests.web.chat_page import ChatPage
from tests.web.conftest import ARGUMENTS, People

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOUND = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
WRITTEN = re.compile(r"^recording\.webm")  # the double's transcript begins with the file's name
# The browser's speech as a page sees it; Chromium has no voices in a test.
VOICES = """
window.spoken = [];
const voices = new EventTarget();
Object.assign(voices, {
    getVoices: () => [{ lang: "en-US", name: "a voice" }],
    speak(utterance) { window.spoken.push(utterance); },
    cancel() { window.spoken.push(null); },
});
Object.defineProperty(window, "speechSynthesis", { value: voices });
"""
NO_VOICES = VOICES.replace('[{ lang: "en-US", name: "a voice" }]', "[]")
SPOKEN = "window.spoken.map((one) => one && [one.text, one.lang])"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    """A Chromium whose microphone is a beep, which every page may hear."""
    launched = await playwright.chromium.launch(
        executable_path=chromium(), args=[*ARGUMENTS, *SOUND]
    )
    yield launched
    await launched.close()


def settings_of(folder: Path, model: OpenAIDouble, name: str) -> Settings:
    return settings_for(
        folder,
        openai_base_url=model.base_url,
        openai_api_key="key-of-the-endpoint",
        model="stage",
        transcription_model=name,
        log_level="ERROR",
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hearing(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The app with a model that writes recordings down."""
    async with served(settings_of(tmp_path_factory.mktemp("voice"), model, "whisper")) as running:
        yield running


async def speak(page: ChatPage) -> None:
    """Record something, until the page shows that it does."""
    await page.frame.get_by_role("button", name="Speak", exact=True).click()
    await expect(page.frame.get_by_text(re.compile("● 0:0[1-9]"))).to_be_visible()


async def test_what_is_said_is_put_into_the_box_and_never_sent_by_itself(
    hearing: Served, people: People
) -> None:
    page = await people.open(hearing)
    await page.box.fill("Before")
    await speak(page)
    await page.frame.get_by_role("button", name="Stop recording").click()
    await expect(page.box).to_have_value(re.compile(r"^Before recording\.webm"))
    await expect(page.box).to_be_focused()
    await expect(page.questions).to_have_count(0)
    await expect(page.toast).to_have_count(0)


async def test_escape_ends_a_recording_without_a_word(
    hearing: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(hearing)
    await speak(page)
    await page.page.keyboard.press("Escape")
    await expect(page.frame.get_by_role("button", name="Speak", exact=True)).to_be_visible()
    await expect(page.box).to_have_value("")
    await page.ask("and on")
    await expect(page.box).to_have_value("")


async def test_an_endpoint_that_fails_is_a_sentence_and_the_text_stays(
    model: OpenAIDouble, people: People, tmp_path_factory: pytest.TempPathFactory
) -> None:
    people.watch.expects("http 5..", "status of 5..")
    settings = settings_of(tmp_path_factory.mktemp("deaf"), model, "no-text")
    async with served(settings) as app:
        page = await people.open(app)
        await page.box.fill("Before")
        await speak(page)
        await page.frame.get_by_role("button", name="Stop recording").click()
        await expect(page.toast).to_contain_text("This recording could not be written down")
        await expect(page.box).to_have_value("Before")
        await people.leave()


async def test_no_microphone_is_offered_where_nothing_writes_recordings_down(
    app: Served, demo: Served, hearing: Served, people: People
) -> None:
    for served_app, policy in ((app, "microphone=()"), (demo, "microphone=()")):
        page = await people.open(served_app)
        await expect(page.frame.locator("#cmw-voice")).to_have_count(0)
        answer = await page.page.request.get(served_app.url)
        assert policy in answer.headers["permissions-policy"]
    page = await people.open(hearing)
    answer = await page.page.request.get(hearing.url)
    assert "microphone=(self)" in answer.headers["permissions-policy"]


async def test_an_answer_is_read_aloud_and_a_second_press_stops_it(
    app: Served, people: People
) -> None:
    tab = await people.tab(app)
    await tab.page.add_init_script(VOICES)
    page = await tab.open()
    await page.ask("**one** and `two`")
    read = page.log.get_by_role("button", name="Read aloud")
    await expect(read).to_have_count(1)  # answers alone
    await read.click()
    await expect(read).to_have_attribute("aria-pressed", "true")
    await expect(read).to_be_focused()
    assert await page.frame.evaluate(SPOKEN) == [["You said: one and two", "en"]]
    await read.click()
    await expect(read).to_have_attribute("aria-pressed", "false")
    assert await page.frame.evaluate("window.spoken.at(-1)") is None
    await page.ask("Привет, как дела у тебя сегодня?")
    await read.last.click()
    language = "window.spoken.at(-1).lang"
    assert await page.frame.evaluate(language) == "ru"
    await page.frame.evaluate("window.spoken.at(-1).dispatchEvent(new Event('end'))")
    await expect(read.last).to_have_attribute("aria-pressed", "false")
    await read.last.click()
    await page.begin_anew()
    assert await page.frame.evaluate("window.spoken.at(-1)") is None


async def test_without_voices_nothing_is_offered_to_be_read(app: Served, people: People) -> None:
    tab = await people.tab(app)
    await tab.page.add_init_script(NO_VOICES)
    page = await tab.open()
    await page.ask("hello")
    await expect(page.button("Copy message")).to_be_visible()
    await expect(page.log.get_by_role("button", name="Read aloud")).to_have_count(0)
