"""Two people sign in and out on the page, each in a browser of their own."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from tests.harness import canary, served, settings_for
from tests.isolation.provider import CLIENT, provider
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


MOVE, LEAVE = "Move these to my account", "Leave them"


async def sign_in(page: ChatPage, subject: str, choice: str | None = None) -> None:
    await page.open_sidebar()
    await page.frame.get_by_role("link", name="Sign in").click()
    await page.page.get_by_role("button", name=subject, exact=True).first.click()
    if choice is not None:
        await page.page.get_by_role("button", name=choice, exact=True).click()
    await page.filled()
    await page.open_sidebar()


async def test_two_people_sign_in_keep_their_chats_and_sign_out(
    people: People, tmp_path: Path
) -> None:
    async with provider() as there:
        settings = settings_for(
            tmp_path,
            openid_provider_url=there,
            oauth_client_id=CLIENT,
            oauth_client_secret="not-told-to-anyone",
        )
        people.watch.origins |= {there, "https://cdn.jsdelivr.net"}  # the provider's style sheet
        people.watch.tolerates("cdn.jsdelivr.net", "net::ERR", there)
        async with served(settings) as app:
            secrets = {"1": canary(), "2": canary()}
            pages = {}
            for subject, name in (("1", "alice"), ("2", "bob")):
                page = pages[subject] = await people.open(app)
                await page.ask(secrets[subject])
                before = page.conversation()
                await sign_in(page, subject, MOVE)
                await expect(page.frame.locator(".cmw-account")).to_contain_text(
                    f"Signed in as {name}"
                )
                # The page comes back to the conversation, which is the account's now.
                assert page.conversation() == before
                await expect(page.questions).to_have_text([secrets[subject]])
            for subject, other in (("1", "2"), ("2", "1")):
                await expect(pages[subject].recent.get_by_role("link")).to_have_count(1)
                await expect(pages[subject].recent).to_contain_text(secrets[subject])
                assert secrets[other] not in await pages[subject].page.content()

            alice = pages["1"]
            await alice.frame.get_by_role("button", name="Sign out").click()
            # Of the new page: the one that goes is filled as well.
            await expect(alice.frame.locator("a.cmw-sign-in")).to_be_attached()
            await alice.filled()
            await alice.open_sidebar()
            await expect(alice.frame.get_by_role("link", name="Sign in")).to_be_visible()
            await expect(alice.recent.get_by_role("link")).to_have_count(0)
            assert secrets["1"] not in await alice.page.content()
            await sign_in(alice, "1")
            await expect(alice.recent).to_contain_text(secrets["1"])


async def test_what_is_left_is_shown_to_the_account_nowhere(people: People, tmp_path: Path) -> None:
    async with provider() as there:
        settings = settings_for(
            tmp_path,
            openid_provider_url=there,
            oauth_client_id=CLIENT,
            oauth_client_secret="not-told-to-anyone",
        )
        people.watch.origins |= {there, "https://cdn.jsdelivr.net"}  # the provider's style sheet
        people.watch.tolerates("cdn.jsdelivr.net", "net::ERR", there)
        async with served(settings) as app:
            secret, may_come = canary(), asyncio.Event()

            async def late(route: Route) -> None:
                await may_come.wait()
                await route.continue_()

            page = await people.open(app)
            await page.page.route("**/consent.js", late)
            await page.ask(f"{secret} <b class=planted>bold</b>")
            await page.open_sidebar()
            await page.frame.get_by_role("link", name="Sign in").click()
            await page.page.get_by_role("button", name="1", exact=True).first.click(
                no_wait_after=True
            )
            await expect(page.page.locator(".chats li")).to_contain_text(secret)
            # A click before the page's script has come would be lost.
            await expect(page.page.get_by_role("button", name=MOVE)).to_be_disabled()
            may_come.set()
            await expect(page.page.get_by_role("button", name=MOVE)).to_be_enabled()
            await expect(page.page.locator("main .planted")).to_have_count(0)
            for width, height in ((390, 844), (1280, 800)):
                await page.page.set_viewport_size({"width": width, "height": height})
                wide = "document.documentElement.scrollWidth > innerWidth"
                assert not await page.page.evaluate(wide)
            # Without a decision the browser is the visitor as before.
            await page.page.get_by_role("link", name="Cancel the sign-in").click()
            await page.filled()
            await page.open_sidebar()
            await expect(page.recent).to_contain_text(secret)
            await sign_in(page, "1", LEAVE)
            await expect(page.frame.locator(".cmw-account")).to_contain_text("Signed in as alice")
            await expect(page.recent.get_by_role("link")).to_have_count(0)
            assert secret not in await page.page.content()
            assert page.conversation() is None


async def test_after_signing_out_no_tab_of_the_browser_stores_what_was_written(
    people: People, tmp_path: Path
) -> None:
    async with provider() as there:
        settings = settings_for(
            tmp_path,
            openid_provider_url=there,
            oauth_client_id=CLIENT,
            oauth_client_secret="not-told-to-anyone",
        )
        people.watch.origins |= {there, "https://cdn.jsdelivr.net"}  # the provider's style sheet
        people.watch.tolerates("cdn.jsdelivr.net", "net::ERR", there)
        people.watch.tolerates("http 401", "status of 401")  # the tab that is signed out, too
        async with served(settings) as app:
            one, text = await people.open(app), canary()
            await sign_in(one, "1")
            two = await (await people.tab_in(one.page.context, app)).open()
            await one.frame.get_by_role("button", name="Sign out").click()
            await expect(one.frame.locator("a.cmw-sign-in")).to_be_attached()
            await one.filled()
            await two.box.fill(text)
            await two.page.goto("about:blank")  # a page that goes stores its draft
            stored = await one.page.evaluate("JSON.stringify({...localStorage})")
            assert text not in stored
