"""Saved prompts: each owner's own, on each database."""

import pytest

from memory.conversations.prompts import MAX_PROMPTS
from memory.engine.database import Database
from memory.errors import InvalidTextError, PromptNotFoundError, TooManyPromptsError
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of

VARIANTS = ("", " ", "../", "%", "' OR 1=1 --", "a\0b", "\ud800", "x" * 10_000)


async def names(store: Store, owner: str = ALICE) -> list[tuple[str, str]]:
    return [(prompt.name, prompt.text) for prompt in await store.prompts(owner)]


async def test_prompts_are_listed_by_name_and_changed_in_place(store: Store, clock: Clock) -> None:
    await store.create_prompt(ALICE, "zeta", "last")
    first = await store.create_prompt(ALICE, " Alpha\n one ", "  first\n\ttext  ")
    assert first.name == "Alpha one"
    assert await names(store) == [("Alpha one", "  first\n\ttext  "), ("zeta", "last")]
    clock.advance(60)
    await store.update_prompt(ALICE, first.prompt_id, "omega", "now")
    listed = {prompt.name: prompt for prompt in await store.prompts(ALICE)}
    assert list(listed) == ["omega", "zeta"]
    assert listed["omega"].created_at == first.created_at
    assert listed["omega"].updated_at == clock()
    await store.delete_prompt(ALICE, first.prompt_id)
    assert await names(store) == [("zeta", "last")]
    with pytest.raises(PromptNotFoundError):
        await store.delete_prompt(ALICE, first.prompt_id)


async def test_another_s_prompt_is_one_that_is_not_there(store: Store, database: Database) -> None:
    hers = (await store.create_prompt(ALICE, "hers", "secret")).prompt_id
    await store.create_prompt(BOB, "his", "own")
    before = await rows_of(database)
    assert await names(store, BOB) == [("his", "own")]
    for prompt_id in (hers, hers.upper(), hers[:-1], f"{hers} ", *VARIANTS):
        with pytest.raises(PromptNotFoundError):
            await store.update_prompt(BOB, prompt_id, "mine", "mine")
        with pytest.raises(PromptNotFoundError):
            await store.delete_prompt(BOB, prompt_id)
    assert await rows_of(database) == before


async def test_what_cannot_be_stored_is_refused(store: Store) -> None:
    prompt_id = (await store.create_prompt(ALICE, "name", "text")).prompt_id
    for name, text in ((" \n", "text"), ("name", " "), ("a\0b", "text"), ("name", "\ud800")):
        with pytest.raises(InvalidTextError):
            await store.create_prompt(ALICE, name, text)
        with pytest.raises(InvalidTextError):
            await store.update_prompt(ALICE, prompt_id, name, text)
    assert await names(store) == [("name", "text")]


async def test_an_owner_has_a_bounded_number_of_prompts(store: Store) -> None:
    for number in range(MAX_PROMPTS):
        await store.create_prompt(ALICE, f"{number:03}", "text")
    with pytest.raises(TooManyPromptsError):
        await store.create_prompt(ALICE, "one more", "text")
    await store.create_prompt(BOB, "his", "own")
    assert len(await store.prompts(ALICE)) == MAX_PROMPTS


async def test_forgetting_takes_the_prompts_of_one_owner(store: Store) -> None:
    await store.create_prompt(ALICE, "hers", "secret")
    await store.create_prompt(BOB, "his", "own")
    await store.forget(ALICE)
    assert await names(store) == []
    assert await names(store, BOB) == [("his", "own")]


async def test_prompts_follow_at_a_sign_in_and_are_counted_before_it(store: Store) -> None:
    assert (await store.holdings(BOB)).is_empty
    await store.create_prompt(BOB, "his", "own")
    shown = await store.holdings(BOB)
    assert shown.prompts == 1
    assert not shown.is_empty
    await store.create_prompt(BOB, "another", "own")
    assert (await store.holdings(BOB)).digest != shown.digest
    await store.create_prompt(ALICE, "hers", "own")
    assert await store.take_over(ALICE, BOB) == 0
    assert await names(store, BOB) == []
    assert [name for name, _ in await names(store)] == ["another", "hers", "his"]
