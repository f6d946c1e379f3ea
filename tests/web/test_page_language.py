"""The page in the reader's language, in Chromium: by the browser, and by choice."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What is alike in all languages: names of products, formats, keys and models, and what the tests write.
ALLOWED = frozenset(
    [
        "CMW",
        "Agent",
        "ChatGPT",
        "Claude",
        "Open",
        "WebUI",
        "JSON",
        "ZIP",
        "HTML",
        "Markdown",
        "Cookie",
        "cookie",
        "Ctrl",
        "Shift",
        "Enter",
        "Esc",
        "Home",
        "End",
        "K",
        "O",
        "schedule",
        "English",
        "stage",
        "echo",
        "demo",
        "Demo",
        "GMT",
        "UTC",
    ]
)
# The visible texts of a page, and what is said of its elements, without what people and models wrote.
TEXTS = """
() => {
  const found = [];
  const isShown = (node) => node.checkVisibility({ visibilityProperty: true });
  const skipped = "script, style, noscript, textarea, [data-testid=user], [data-testid=bot], kbd, bdi, code"
    + ", #cmw-recent li a, #cmw-title, .cmw-model, select[data-zones], #cmw-foot select";
  for (const element of document.querySelectorAll("body, body *")) {
    if (!isShown(element) || element.closest(skipped)) continue;
    for (const node of element.childNodes) if (node.nodeType === 3) found.push(node.data.trim());
    for (const name of ["aria-label", "title", "placeholder", "alt"]) {
      const value = element.getAttribute(name);
      if (value) found.push(value.trim());
    }
  }
  return [...new Set(found.filter(Boolean))];
}
"""
LATIN = re.compile(r"[A-Za-z][A-Za-z']*")
ZONE = re.compile(r"^[A-Z][A-Za-z_]+(?:/[A-Za-z_+-]+|[ /][A-Za-z_ /+-]+)?$|^[A-Z]{3}$")


async def _context(browser: Browser, locale: str) -> BrowserContext:
    return await browser.new_context(locale=locale, viewport=WIDE, reduced_motion="reduce")


async def _open(people: People, browser: Browser, app: Served, locale: str) -> ChatPage:
    page = await people.tab_in(await _context(browser, locale), app)
    await page.page.goto(app.url)
    await expect(page.frame.locator("body")).to_have_class(re.compile(r"\bcmw-shown\b"))
    return page


async def _english(page: ChatPage, own: str = "") -> list[str]:
    """Return the texts on the page in which words stand that are not allowed."""
    texts = [text.replace(own, "") if own else text for text in await page.frame.evaluate(TEXTS)]
    return [
        text for text in texts if set(LATIN.findall(text)) - ALLOWED and not ZONE.fullmatch(text)
    ]


async def _section(page: ChatPage, name: str) -> None:
    await page.frame.get_by_role("tab", name=name).click()


async def test_a_russian_browser_gets_a_russian_page(
    app: Served, people: People, browser: Browser
) -> None:
    page = await _open(people, browser, app, "ru-RU")
    html = page.frame.locator("html")
    await expect(html).to_have_attribute("lang", "ru")
    await expect(html).to_have_attribute("dir", "ltr")
    await expect(page.frame.get_by_role("button", name="Новый чат", exact=True)).to_be_visible()
    assert await _english(page) == []
    await page.frame.locator("#cmw-input textarea").fill("привет")
    await page.frame.get_by_role("button", name="Отправить").click()
    await expect(page.frame.get_by_role("button", name="Копировать сообщение").last).to_be_visible()
    await expect(page.frame.locator("#cmw-recent")).to_contain_text("Сегодня")
    assert await _english(page) == []


async def test_dialogs_palette_and_menus_are_russian_too(
    app: Served, people: People, browser: Browser
) -> None:
    page = await _open(people, browser, app, "ru")
    await page.frame.locator("#cmw-input textarea").fill("привет")
    await page.frame.get_by_role("button", name="Отправить").click()
    more = page.frame.get_by_role("button", name=re.compile("^Действия с чатом"))
    await expect(more).to_be_visible()
    await more.click()
    await expect(page.frame.get_by_role("menuitem", name="Удалить")).to_be_visible()
    assert await _english(page, "привет") == []
    await page.page.keyboard.press("Escape")
    await page.frame.get_by_role("button", name="Настройки", exact=True).click()
    for name in ("Общие", "Мои данные", "Повторяющиеся задачи", "Расход и стоимость", "Клавиатура"):
        await _section(page, name)
        await expect(page.frame.get_by_role("tabpanel")).to_be_visible()
        assert await _english(page, "привет") == [], name
    await page.page.keyboard.press("Escape")
    await page.page.keyboard.press("Control+k")
    await expect(page.frame.get_by_role("listbox")).to_be_visible()
    assert await _english(page, "привет") == []


async def test_an_english_browser_gets_english_and_gradios_labels_with_it(
    app: Served, people: People, browser: Browser
) -> None:
    page = await _open(people, browser, app, "en-GB")
    await expect(page.frame.locator("html")).to_have_attribute("lang", "en")
    assert not [text for text in await page.frame.evaluate(TEXTS) if re.search("[а-я]", text)]


async def test_the_choice_wins_over_the_browser_and_lasts(
    app: Served, people: People, browser: Browser
) -> None:
    page = await _open(people, browser, app, "ru-RU")
    await page.frame.get_by_role("button", name="Настройки", exact=True).click()
    async with page.page.expect_navigation():
        await page.frame.get_by_label("Язык").select_option(label="English")
    html = page.frame.locator("html")
    await expect(html).to_have_attribute("lang", "en")
    await expect(page.frame.get_by_role("button", name="New chat", exact=True)).to_be_visible()
    assert not [text for text in await page.frame.evaluate(TEXTS) if re.search("[а-я]", text)]
    await page.page.reload()
    await expect(html).to_have_attribute("lang", "en")
    # An address may ask for a language once, and changes no choice.
    await page.page.goto(f"{app.url}/?lang=ru")
    await expect(html).to_have_attribute("lang", "ru")
    await page.page.goto(app.url)
    await expect(html).to_have_attribute("lang", "en")


async def test_the_demo_speaks_russian_to_a_russian_browser(
    demo: Served, people: People, browser: Browser
) -> None:
    page = await _open(people, browser, demo, "ru-RU")
    for question, answer in (
        ("Меня зовут Алиса", "Здравствуйте, Алиса!"),
        ("Как меня зовут?", "Вас зовут Алиса!"),
        ("Который час в Токио?", "Сейчас "),
    ):
        await page.frame.locator("#cmw-input textarea").fill(question)
        await page.frame.get_by_role("button", name="Отправить").click()
        await expect(page.texts.last).to_contain_text(answer)
        await expect(page.frame.get_by_role("button", name="Отправить")).to_be_visible()


async def test_the_built_in_agent_has_a_name_in_each_language_and_others_keep_theirs(
    people: People, browser: Browser, model: OpenAIDouble, tmp_path: Path
) -> None:
    (tmp_path / "agents.toml").write_text('[[agents]]\nid = "helper"\nname = "Helper"\n')
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, openai_api_key="key", model="stage"
    )
    async with served(settings) as app:
        page = await _open(people, browser, app, "ru-RU")
        agents = page.frame.locator("#cmw-agent option")
        await expect(page.frame.locator("body")).to_have_class(re.compile(r"\bcmw-opened\b"))
        await expect(agents).to_have_text(["Ассистент", "Helper"])
        await people.leave()
