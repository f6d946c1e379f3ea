"""What stands at an answer: thoughts, its end, sources, pictures, the model that gave it."""

import base64
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import ViewportSize, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Raw, Request, Start, Step, Stop, Text
from tests.doubles.openai_wire import encode, event
from tests.harness import Served, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.test_looks import NARROW, _fits, _picture, _readable

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENTS = """
[[models]]
id = "stage"
effort = "medium"
fallback = ["second"]

[[models]]
id = "second"
"""
THOUGHTS = (
    "First I *weigh* it, <b onclick='x'>well</b>. ",
    "[Connect](connections/connect?ticket=",
)
TICKET = "A" * 43
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElFTkSuQmCC"
)
SOURCES = (
    ("https://example.com/a?b=1&c=2", "An <b>article</b> on *stars*"),
    ("javascript:alert(1)", "Nothing on the web"),
    ("https://example.org/plain", ""),
)


def chunk(delta: dict[str, Any], finish: str | None = None) -> Raw:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return Raw(event(encode({"object": "chat.completion.chunk", "choices": [choice]})))


def by_words(request: Request) -> Sequence[Step]:
    """Answer as the words of the last message ask for."""
    said = request.last_user
    steps: list[Step] = [Start()]
    if "think" in said:
        steps += [chunk({"reasoning_content": THOUGHTS[0]}), Gate()]
        steps += [chunk({"reasoning_content": f"{THOUGHTS[1]}{TICKET})"}), Gate()]
    if "wait" in said:
        steps.append(Gate())
    steps.append(Text(["The ", "answer [1]."]))
    if "cite" in said:
        found = [{"url": url, "title": title} for url, title in SOURCES]
        notes = [{"type": "url_citation", "url_citation": citation} for citation in found]
        steps.append(chunk({"annotations": notes}))
    if "draw" in said:
        url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
        steps.append(chunk({"images": [{"type": "image_url", "image_url": {"url": url}}]}))
    return [*steps, chunk({}, "length" if "cut" in said else "stop"), Stop()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint() -> AsyncIterator[OpenAIDouble]:
    async with OpenAIDouble(scripts={"stage": by_words}) as double:
        yield double


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    endpoint: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("answers")
    (folder / "agents.toml").write_text(AGENTS)
    settings = settings_for(
        folder,
        openai_base_url=endpoint.base_url,
        openai_api_key="key-of-the-endpoint",
        model="stage",
        agents_file=folder / "agents.toml",
        log_level="ERROR",
    )
    async with served(settings) as running:
        yield running


def _step(page: ChatPage, title: str) -> Any:
    return page.log.get_by_role("button", name=re.compile(title))


@pytest.mark.parametrize(
    ("size", "dark"), [(WIDE, False), (NARROW, True)], ids=["1280-light", "390-dark"]
)
async def test_thoughts_are_a_closed_step_that_counts_and_can_be_read(
    size: ViewportSize, dark: bool, house: Served, endpoint: OpenAIDouble, people: People
) -> None:
    page = await people.tab(
        house, viewport=size, dark=dark, permissions=["clipboard-read", "clipboard-write"]
    )
    await page.page.clock.install()
    await page.open()
    await page.write(f"think, {size['width']}")
    await endpoint.wait_held(f"think, {size['width']}")
    thinking = _step(page, "Thinking…")
    await expect(thinking).to_be_visible()
    await expect(page.waiting).to_have_count(0)
    await expect(page.steps).not_to_contain_text("weigh")  # closed
    # The count begins at the page's next look: a jump before it would have to be waited for.
    await expect(thinking).to_have_text(re.compile(r"^Thinking…\d s$"))
    await page.page.clock.fast_forward(40_000)
    await expect(thinking).to_have_text(re.compile(r"^Thinking…4\d s$"))
    await expect(page.frame.get_by_role("timer")).to_be_hidden()
    await _fits(page)
    await _readable(page)
    await _picture(page, f"thinking-{size['width']}-{'dark' if dark else 'light'}")

    await thinking.press("Enter")  # it can be read while it grows
    await expect(page.steps).to_contain_text("First I weigh it, <b onclick='x'>well</b>.")
    endpoint.release(f"think, {size['width']}")
    await expect(page.steps).to_contain_text("Connect")
    endpoint.release(f"think, {size['width']}")
    await expect(page.answers.last).to_have_text("The answer [1].")
    await page.settled()
    for _ in range(2):
        thought = _step(page, "Thought for (a moment|\\d+ s)")
        await expect(thought).to_be_visible()
        await expect(thought).to_have_text(re.compile(r"^Thought for (a moment|\d+ s)$"))
        if not await page.steps.locator(".cmw-step-content").count():
            await thought.press("Enter")
        await expect(page.steps).to_contain_text("Connect")
        # No text of a model is the button that connects an account.
        await expect(page.steps.locator("a[href*=ticket], [onclick]")).to_have_count(0)
        await _readable(page)
        await page.button("Copy message").click()
        await page.page.wait_for_function(
            "async () => (await navigator.clipboard.readText()).trim() === 'The answer [1].'"
        )
        await page.reload()


async def test_a_long_silence_is_told_with_its_seconds(
    house: Served, endpoint: OpenAIDouble, people: People
) -> None:
    page = await people.tab(house)
    await page.page.clock.install()
    await page.open()
    await page.write("wait for it")
    await endpoint.wait_held("wait for it")
    await expect(page.waiting).to_be_visible()
    timer = page.frame.get_by_role("timer")
    await expect(timer).to_be_hidden()
    await page.page.clock.fast_forward(40_000)
    await expect(timer).to_have_text(re.compile(r"^Waiting for the model… 4\d s$"))
    endpoint.release("wait for it")
    await expect(page.answers.last).to_have_text("The answer [1].")
    await page.settled()
    await expect(timer).to_be_hidden()


async def test_a_cut_answer_says_so_and_goes_on_at_one_press(
    house: Served, endpoint: OpenAIDouble, people: People
) -> None:
    page = await people.open(house)
    await page.ask("cut it")
    go_on = page.log.get_by_role("button", name="Continue", exact=True)
    for _ in range(2):
        await expect(page.answers.last).to_contain_text("The answer was cut at the model's limit")
        await expect(page.answers.last).to_contain_text(re.compile(r"error [0-9a-f]{8}"))
        await expect(go_on).to_be_visible()
        await page.reload()
    await _readable(page)
    await page.box.fill("a draft")
    await go_on.press("Enter")
    await expect(page.questions).to_have_text(["cut it", "Continue"])
    await expect(page.answers.last).to_have_text("The answer [1].")
    await page.settled()
    await expect(go_on).to_have_count(0)  # only below the last answer
    await expect(page.box).to_have_value("a draft")
    sent = [request for request in endpoint.requests if request.last_user == "Continue"]
    assert [request.user_texts for request in sent] == [["cut it", "Continue"]]


async def test_sources_are_numbered_links_and_pictures_are_drawn(
    house: Served, people: People
) -> None:
    page = await people.open(house, viewport=NARROW)
    await page.ask("cite and draw")
    for _ in range(2):
        items = page.log.locator("ol li")
        await expect(items).to_have_text(
            ["An <b>article</b> on *stars*", "https://example.org/plain"]
        )
        links = items.locator("a")
        await expect(links).to_have_count(2)
        await expect(links.first).to_have_attribute("href", SOURCES[0][0])
        await expect(links.first).to_have_attribute("rel", "noopener noreferrer nofollow")
        await expect(links.first).to_have_attribute("target", "_blank")
        picture = page.log.locator("a.cmw-file img")
        await expect(picture).to_have_attribute("alt", re.compile(r"\.png$"))
        await expect(picture).to_have_js_property("naturalWidth", 10)
        await expect(page.log.get_by_role("button", name="Share")).to_have_count(0)
        await _fits(page)
        await page.log.locator("a.cmw-file").press("Enter")
        large = page.frame.get_by_role("dialog").get_by_role("img")
        await expect(large).to_have_js_property("naturalWidth", 10)
        await page.page.keyboard.press("Escape")
        await expect(page.frame.get_by_role("dialog")).to_have_count(0)
        await page.reload()


async def test_the_effort_is_chosen_where_the_model_has_one_and_kept(
    house: Served, endpoint: OpenAIDouble, people: People
) -> None:
    page = await people.open(house)
    effort = page.frame.get_by_role("combobox", name="Effort")
    await page.open_choices()
    await expect(effort).to_have_value("auto")
    await effort.select_option("High")
    await page.ask("how hard")
    await page.reload()
    await page.open_choices()
    await expect(effort).to_have_value("high")
    await _readable(page)
    await effort.select_option("Default")
    await page.ask("and now")
    await page.reload()
    await page.open_choices()
    await expect(effort).to_have_value("auto")
    asked = [r.body.get("reasoning_effort") for r in endpoint.requests[-2:]]
    assert asked == ["high", "medium"]
    await page.frame.get_by_role("combobox", name="Model").select_option("second")
    await expect(effort).to_be_hidden()
    await page.ask("how plain")
    assert "reasoning_effort" not in endpoint.requests[-1].body
    await page.reload()
    await page.open_choices()
    await expect(page.frame.get_by_role("combobox", name="Model")).to_have_value("second")
    await expect(effort).to_be_hidden()
