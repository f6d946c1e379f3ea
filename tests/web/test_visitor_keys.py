"""A visitor's own key: entered in the settings, kept in the tab, sent with the visitor's turns."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANNA, BERT = "hf_key-of-anna-0123456789", "hf_key-of-bert-0123456789"
STORED = "JSON.stringify([{...localStorage}, document.cookie, location.href])"
NO_KEY = "This app has no key for the model of its own: please enter yours in the settings"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyless(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The app without a key of its own."""
    settings = settings_for(
        tmp_path_factory.mktemp("keyless"),
        openai_base_url=model.base_url,
        model="stage",
        visitor_keys="required",
        visitor_key_url="https://keys.example/new",
        suggestions="on",
        titles="on",
        log_level="ERROR",
    )
    async with served(settings) as running:
        yield running


async def enter(page: ChatPage, key: str) -> None:
    section = await page.open_settings("Your key")
    await section.get_by_label("Key for the model").fill(key)
    await section.get_by_role("button", name="Use this key").click()
    await expect(section.get_by_role("status")).to_contain_text("sent with this key")
    await page.close_settings()


async def test_a_page_without_a_key_asks_for_one_and_answers_with_it(
    keyless: Served, people: People, model: OpenAIDouble
) -> None:
    page, secret = await people.open(keyless), canary()
    note = page.frame.locator("#cmw-key-note")
    await expect(note).to_contain_text("no key for the model of its own")
    await page.ask(f"hello {secret}")
    await expect(page.log).to_contain_text(NO_KEY)
    assert not [r for r in model.requests if secret in str(r.body)]
    await note.get_by_role("button", name="Enter a key").click()
    section = page.frame.get_by_role("tabpanel", name="Your key")
    link = section.get_by_role("link", name="Where to get a key")
    await expect(link).to_have_attribute("href", "https://keys.example/new")
    await page.close_settings()
    await enter(page, ANNA)
    await expect(note).to_be_hidden()
    await page.button("Retry").click()
    await expect(page.texts.last).to_contain_text(f"You said: hello {secret}")
    await page.settled()
    assert {bearer for bearer, _ in asked(model, secret)} == {f"Bearer {ANNA}"}
    assert ANNA not in await page.frame.evaluate(STORED)
    await page.reload()
    await page.ask(f"again {secret}")
    await expect(page.texts.last).to_contain_text(f"You said: again {secret}")
    await expect(note).to_be_hidden()
    # another tab of the same user has no key
    other = await people.same_user(page, keyless.url)
    await expect(other.frame.locator("#cmw-key-note")).to_be_visible()
    await other.ask("hello")
    await expect(other.log).to_contain_text(NO_KEY)


def asked(model: OpenAIDouble, secret: str) -> list[tuple[str, str]]:
    return [
        (request.headers.get("authorization", ""), str(request.body))
        for request in model.requests
        if secret in str(request.body)
    ]


async def test_two_people_s_keys_go_with_their_own_messages(
    keyless: Served, people: People, model: OpenAIDouble
) -> None:
    secrets = {ANNA: canary(), BERT: canary()}
    pages = {key: await people.open(keyless) for key in secrets}
    for key, page in pages.items():
        await enter(page, key)
    for key, page in pages.items():
        await page.write(f"the same words {secrets[key]}")
    for key, page in pages.items():
        await expect(page.texts.last).to_contain_text(secrets[key])
        await page.settled()
        # the answer, the title and the suggestions
        own = partial(asked, model, secrets[key])
        await model.wait_until(lambda own=own: len(own()) >= 3, what="requests")  # type: ignore[misc]
        assert {bearer for bearer, _ in own()} == {f"Bearer {key}"}
    await pages[ANNA].edit_last(f"an edit {secrets[ANNA]}")
    await expect(pages[ANNA].texts.last).to_contain_text("an edit")
    await pages[ANNA].settled()
    assert {bearer for bearer, _ in asked(model, secrets[ANNA])} == {f"Bearer {ANNA}"}


async def test_a_key_that_is_removed_is_gone_and_temporary_chats_use_it_too(
    keyless: Served, people: People, model: OpenAIDouble
) -> None:
    page, secret = await people.open(keyless), canary()
    await enter(page, BERT)
    await page.frame.get_by_role("button", name="Temporary chat").click()
    await page.ask(f"hello {secret}")
    await expect(page.texts.last).to_contain_text(f"You said: hello {secret}")
    assert {bearer for bearer, _ in asked(model, secret)} == {f"Bearer {BERT}"}
    section = await page.open_settings("Your key")
    await section.get_by_role("button", name="Remove").click()
    await page.close_settings()
    await page.ask("once more")
    await expect(page.log).to_contain_text(NO_KEY)
    assert await page.frame.evaluate("sessionStorage.getItem('cmw.key')") is None
    await expect(page.frame.locator("#cmw-key-note")).to_be_visible()


async def test_where_no_keys_are_taken_none_is_offered(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.open_settings()
    await expect(page.frame.get_by_role("tab", name="Your key")).to_be_hidden()
    await expect(page.frame.locator("#cmw-key-note")).to_have_count(0)
