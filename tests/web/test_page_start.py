"""What a page fetches and does until it is ready, and that it does nothing then."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Response

from cmw_agent.language import languages
from cmw_agent.web.page.built_files import BuiltFiles
from cmw_agent.web.page.document import PageDocument
from cmw_agent.web.page.language_files import LanguageFiles
from cmw_agent.web.page.page_texts import PageTexts
from tests.harness import Served
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_REQUESTS = 24
PAGE = (
    b'<html lang="en"><head><base href="./"><script>window.gradio_config = {"components": []};</script>'
    b'<script type="module" crossorigin src="./assets/index-%s.js"></script>'
    b'<link rel="stylesheet" crossorigin href="./assets/index-A.css"></head><body>'
)
FRAMES = """() => {
    const real = window.requestAnimationFrame.bind(window);
    window.asked = 0;
    window.realFrame = real;
    window.requestAnimationFrame = (work) => { window.asked += 1; return real(work); };
}"""
# Resolves once 30 frames have passed in which no script has asked for one.
AT_REST = """() => new Promise((done) => {
    let quiet = 0;
    let before = window.asked;
    const look = () => {
        quiet = window.asked === before ? quiet + 1 : 0;
        before = window.asked;
        if (quiet === 30) done(true);
        else window.realFrame(look);
    };
    look();
})"""


async def test_gradio_s_files_come_as_one_script_and_everything_is_compressed(
    demo: Served, people: People
) -> None:
    page = await people.tab(demo)
    answers: list[Response] = []
    page.page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 (Playwright marks it)
    await page.open()
    paths = [urlsplit(answer.url).path for answer in answers if answer.url.startswith(demo.url)]
    assert len(paths) <= MAX_REQUESTS, paths
    assets = [path for path in paths if path.startswith("/assets/")]
    assert len(assets) == 1, assets
    assert assets[0].endswith(".css")
    assert [path for path in paths if re.fullmatch(r"/built/gradio-[\w-]+\.js", path)]
    assert "/look" in paths
    for answer in answers:
        if re.search(r"\.(js|css)$|/$|/look$", urlsplit(answer.url).path):
            assert "content-encoding" in answer.headers, answer.url


async def test_a_page_at_rest_asks_for_no_frames(demo: Served, people: People) -> None:
    page = await people.tab(demo)
    await page.page.add_init_script(f"({FRAMES})()")
    await page.open()
    assert await page.frame.evaluate(AT_REST)
    await page.ask("My name is Alice")
    assert await page.frame.evaluate(AT_REST)


async def test_another_gradio_than_the_bundled_one_loads_its_own_files(demo: Served) -> None:
    runtime, all_languages, built = demo.application.runtime, languages(), BuiltFiles()
    look = runtime.settings.look
    document = PageDocument(
        [],
        look,
        languages=all_languages,
        language_files=LanguageFiles(all_languages),
        texts=PageTexts(runtime.models, [], look, has_voice=False, suggests=False),
        built=built,
    )
    (bundled,) = [
        match[1]
        for name in built.names
        if (match := re.fullmatch(r"gradio-([\w-]+)\.js", name)) is not None
    ]
    variant = document.variant(None, all_languages.of("en"))
    made = document.render(PAGE % bundled.encode(), variant)
    assert f'src="built/gradio-{bundled}.js?v='.encode() in made
    assert b"/index-%s" % bundled.encode() not in made
    made = document.render(PAGE % b"Other", variant)
    assert b'src="./assets/index-Other.js"' in made
    assert b"built/gradio" not in made
