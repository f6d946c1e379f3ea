"""The page's layout: wide and narrow, light and dark, by keyboard alone."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import ViewportSize, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
NARROW = ViewportSize(width=390, height=844)
READABLE = 4.5  # WCAG 2.2, level AA, for text of usual size

# Gives (selector, text, contrast) of each element that has text of its own.
CONTRASTS = """() => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) =>
        [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const layers = (node) => {
        const found = [];
        for (let at = node; at; at = at.parentElement) found.unshift(getComputedStyle(at));
        return found;
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((c) => {
            const s = c / 255;
            return s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const measured = (node, colour) => {
        let ground = [255, 255, 255, 1], opacity = 1;
        for (const style of layers(node)) {
            ground = over(rgba(style.backgroundColor), ground);
            opacity *= Number(style.opacity);
        }
        const ink = rgba(colour);
        ink[3] *= opacity;
        const [a, b] = [light(over(ink, ground)), light(ground)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const seen = [];
    for (const node of document.querySelectorAll("#cmw-main *, #cmw-side *, dialog[open] *")) {
        if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
        if (node.closest(".sr-only")) continue; // for the ear alone
        const own = [...node.childNodes].filter((n) => n.nodeType === 3);
        const text = own.map((n) => n.data.trim()).join(" ").trim();
        const style = getComputedStyle(node);
        const name = `${node.tagName}.${node.className}`;
        if (text && !/^[\\p{Emoji}\\s]+$/u.test(text)) seen.push([name, text, measured(node, style.color)]);
        if (node.placeholder) {
            const ink = getComputedStyle(node, "::placeholder").color;
            seen.push([`${name}::placeholder`, node.placeholder, measured(node, ink)]);
        }
    }
    return seen;
}"""
FOCUSED = """() => {
    const node = document.activeElement;
    return node.getAttribute("aria-label") || node.innerText.trim() || node.tagName;
}"""


async def _contrasts(page: ChatPage) -> list[tuple[str, str, float]]:
    measured: list[Any] = await page.frame.evaluate(CONTRASTS)
    return [(name, text, ratio) for name, text, ratio in measured]


async def _readable(page: ChatPage) -> None:
    measured = await _contrasts(page)
    assert measured
    assert [found for found in measured if found[2] < READABLE] == []


async def _fits(page: ChatPage) -> None:
    sizes = await page.frame.evaluate(
        "[document.documentElement.scrollWidth, innerWidth,"
        " document.documentElement.scrollHeight, innerHeight]"
    )
    assert sizes[0] <= sizes[1], "the page scrolls sideways"
    assert sizes[2] <= sizes[3], "the page scrolls as a whole, not the conversation alone"
    await expect(page.box).to_be_in_viewport(ratio=1)
    await expect(page.send.or_(page.stop)).to_be_in_viewport(ratio=1)


async def _picture(page: ChatPage, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    await page.page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
async def test_everything_fits_and_can_be_read(
    size: ViewportSize, dark: bool, demo: Served, app: Served, model: OpenAIDouble, people: People
) -> None:
    shape = f"{size['width']}-{'dark' if dark else 'light'}"
    page = await people.open(demo, viewport=size, dark=dark)
    await _fits(page)
    await _readable(page)
    await _picture(page, f"empty-{shape}")
    await page.ask("My name is Alice")
    await page.ask("What is 17.5 * (3 + 4)?")
    await page.frame.get_by_role("button", name=re.compile("calculate")).click()
    await expect(page.steps).to_contain_text("122.5")
    await _fits(page)
    await _readable(page)
    await _picture(page, f"tool-{shape}")

    people.watch.origins.add(app.url)
    page = await ChatPage(page.page, app.url).open()
    await page.ask("[cut-9] an answer that breaks")
    await page.ask("[fail-401] an answer that never comes; " + "a-very-long-word" * 12)
    await page.write("[gated-0] waiting")
    await model.wait_held("waiting")
    await expect(page.waiting).to_be_in_viewport()
    await _fits(page)
    await _readable(page)
    await _picture(page, f"errors-{shape}")
    await page.stop.click()
    await page.settled()
    await page.write("  ")
    await expect(page.toast).to_have_css("opacity", "1")  # it fades in
    await _readable(page)
    await _picture(page, f"toast-{shape}")


async def test_text_that_is_too_faint_is_found(demo: Served, people: People) -> None:
    page = await people.open(demo)
    await page.frame.add_style_tag(content="#cmw-foot div { opacity: .3; }")
    faint = [text for _, text, ratio in await _contrasts(page) if ratio < READABLE]
    assert faint == ["Answers can be wrong. Your conversations are yours alone."]


async def test_on_a_phone_the_sidebar_opens_and_a_new_chat_closes_it(
    demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=NARROW)
    await expect(page.toggle).to_have_attribute("aria-expanded", "false")
    await page.ask("My name is Alice")
    await page.open_sidebar()
    await expect(page.new_chat).to_be_in_viewport(ratio=1)
    await expect(page.recent.get_by_role("link")).to_have_text("My name is Alice")
    await _readable(page)
    await _picture(page, "sidebar-390-light")
    await page.new_chat.click()
    await expect(page.questions).to_have_count(0)
    await expect(page.toggle).to_have_attribute("aria-expanded", "false")
    await expect(page.box).to_be_focused()
    await _fits(page)


async def test_on_a_phone_a_chat_that_was_deleted_while_open_comes_back_by_undo(
    demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=NARROW)
    await page.ask("My name is Alice")
    await page.open_sidebar()
    await page.recent.get_by_role("button", name="Actions for My name is Alice").click()
    await page.frame.get_by_role("menuitem", name="Delete").click()
    await page.left()
    await expect(page.toggle).to_have_attribute("aria-expanded", "false")
    await expect(page.toast).to_contain_text("“My name is Alice” was deleted.")
    await _fits(page)
    await page.toast.get_by_role("button", name="Undo").click()
    await expect(page.questions).to_have_text("My name is Alice")
    await expect(page.toast).to_have_count(0)


async def test_the_sidebar_stays_as_its_user_left_it(demo: Served, people: People) -> None:
    page = await people.open(demo)
    for state in ("false", "true"):
        await page.toggle.click()
        await expect(page.toggle).to_have_attribute("aria-expanded", state)
        await page.reload()
        await expect(page.toggle).to_have_attribute("aria-expanded", state)


async def test_the_keyboard_reaches_everything(demo: Served, people: People) -> None:
    page = await people.open(demo)
    keyboard = page.page.keyboard
    await expect(page.box).to_be_focused()
    await keyboard.type("What is 2 * 3?")
    await keyboard.press("Tab")
    await expect(page.send).to_be_focused()
    await keyboard.press("Enter")
    await expect(page.answers.last).to_have_text("That makes 6.")
    await page.settled()
    await expect(
        page.frame.get_by_role("button", name="Actions for What is 2 * 3?")
    ).to_be_visible()

    await page.new_chat.focus()
    reached = [await page.frame.evaluate(FOCUSED)]
    while "Send" not in reached and len(reached) < 40:
        await keyboard.press("Tab")
        reached.append(await page.frame.evaluate(FOCUSED))
    assert [name.partition("\n")[0] for name in reached] == [
        "New chat",
        "Temporary chat",
        "Search conversations",
        "What is 2 * 3?",
        "Actions for What is 2 * 3?",
        "Archived",
        "Settings",
        "Sidebar",
        "What is 2 * 3?",
        "Begin a new chat",
        "Conversation",
        "Copy message",
        "Edit",
        "calculate",
        "Copy message",
        "Retry",
        "Fork from here",
        "Like",
        "Dislike",
        "Details",
        "Attach files",
        "Commands and prompts",
        "Message",
        "Send",
    ]
    await page.log.get_by_role("button", name=re.compile("calculate")).press("Enter")
    await expect(page.steps.locator("pre").last).to_have_text("6")


async def test_what_a_closed_sidebar_holds_is_out_of_reach(demo: Served, people: People) -> None:
    page = await people.open(demo, viewport=NARROW)
    await expect(page.new_chat).to_have_count(0)  # neither for the eye nor for a screen reader
    await page.toggle.focus()
    await page.page.keyboard.press("Tab")
    assert await page.frame.evaluate(FOCUSED) == "Begin a new chat"


async def test_every_control_has_a_name(app: Served, model: OpenAIDouble, people: People) -> None:
    page = await people.open(app)
    nameless = re.compile(r"^\s*- (button|textbox|link)( \[.*\])?:?$", re.MULTILINE)
    body = page.frame.locator("body")
    assert not nameless.findall(await body.aria_snapshot())
    await page.ask('[tool:calculate:{"expression": "6*7"}] now')
    assert not nameless.findall(await body.aria_snapshot())
    await page.button("Edit").click()
    await expect(page.log.get_by_role("textbox", name="Edit message")).to_be_focused()
    assert not nameless.findall(await body.aria_snapshot())
    await page.button("Cancel").click()
    await page.write("[gated-1] held")
    await model.wait_held("held")
    await expect(page.stop).to_be_visible()
    assert not nameless.findall(await body.aria_snapshot())
    model.release("held")
    await page.settled()
