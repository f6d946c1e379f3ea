"""Saved prompts of one owner: names and texts that they put into the message box again.

Functions of one connection; each statement names the owner.
"""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.errors import PromptNotFoundError, TooManyPromptsError
from memory.records import SavedPrompt
from memory.schema import agent_prompts, columns_of

MAX_PROMPTS = 100  # of one owner, unless more came with a sign-in

_prompts = agent_prompts.c
_OWNER = _prompts.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
_ONE = sa.and_(_OWNER, _prompts.prompt_id == sa.bindparam("prompt_id_", type_=sa.Text))
_LIST: Final = (
    sa.select(*columns_of(agent_prompts, SavedPrompt))
    .where(_OWNER)
    .order_by(sa.func.lower(_prompts.name), _prompts.prompt_id)
)
_COUNT: Final = sa.select(sa.func.count()).select_from(agent_prompts).where(_OWNER)
_UPDATE: Final = (
    sa.update(agent_prompts)
    .where(_ONE)
    .values(
        name=sa.bindparam("new_name"),
        text=sa.bindparam("new_text"),
        updated_at=sa.bindparam("now", type_=agent_prompts.c.updated_at.type),
    )
)
_DELETE: Final = sa.delete(agent_prompts).where(_ONE)
_FORGET: Final = sa.delete(agent_prompts).where(_OWNER)
_TAKE_OVER: Final = (
    sa.update(agent_prompts).where(_OWNER).values(owner_id=sa.bindparam("new_owner"))
)


def prompts(connection: sa.Connection, owner: str) -> list[SavedPrompt]:
    """Return an owner's prompts, by name."""
    return [SavedPrompt(*row) for row in connection.execute(_LIST, {"owner_id_": owner})]


def create(
    connection: sa.Connection, owner: str, prompt_id: str, name: str, text: str, now: datetime
) -> SavedPrompt:
    """Store a prompt. Raises TooManyPromptsError."""
    own: dict[str, Any] = {"owner_id_": owner}
    if connection.dialect.name == "postgresql":
        # Two at once would each see the room that only one of them may take.
        key = sa.func.hashtextextended(f"cmw.prompts\n{owner}", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    if connection.execute(_COUNT, own).scalar_one() >= MAX_PROMPTS:
        raise TooManyPromptsError
    prompt = SavedPrompt(prompt_id, name, text, now, now)
    row = {"owner_id": owner, "prompt_id": prompt_id, "name": name, "text": text}
    connection.execute(sa.insert(agent_prompts), row | {"created_at": now, "updated_at": now})
    return prompt


def update(
    connection: sa.Connection, owner: str, prompt_id: str, name: str, text: str, now: datetime
) -> None:
    """Give a prompt another name and text. Raises PromptNotFoundError."""
    values = {"owner_id_": owner, "prompt_id_": prompt_id, "new_name": name, "new_text": text}
    if connection.execute(_UPDATE, values | {"now": now}).rowcount == 0:
        raise PromptNotFoundError


def delete(connection: sa.Connection, owner: str, prompt_id: str) -> None:
    """Delete a prompt. Raises PromptNotFoundError."""
    values = {"owner_id_": owner, "prompt_id_": prompt_id}
    if connection.execute(_DELETE, values).rowcount == 0:
        raise PromptNotFoundError


def forget(connection: sa.Connection, owner: str) -> None:
    """Delete all prompts of an owner."""
    connection.execute(_FORGET, {"owner_id_": owner})


def count(connection: sa.Connection, owner: str) -> int:
    """Return how many prompts an owner has."""
    return int(connection.execute(_COUNT, {"owner_id_": owner}).scalar_one())


def take_over(connection: sa.Connection, owner: str, from_owner: str) -> int:
    """Make the prompts of `from_owner` those of `owner`; return how many there were."""
    values = {"owner_id_": from_owner, "new_owner": owner}
    return connection.execute(_TAKE_OVER, values).rowcount
