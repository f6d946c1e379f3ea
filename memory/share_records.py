"""Records of shares: links to snapshots of conversations."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from memory.records import MessageStatus, Role, SourceRecord, StoredFile


@dataclass(frozen=True, slots=True)
class NewShare:
    """What an owner shares.

    Attributes:
        conversation_id: The owner's conversation.
        share_id: The unguessable id that stands in the link.
        reader_id: The id of the link's principal, to which the snapshot belongs.
        expires_at: When the link ends; None for never.
        file_copies: Ids of the copies of bytes that were made, by the ids of the conversation's
            files; None where files are not shared.
    """

    conversation_id: str
    share_id: str
    reader_id: str
    expires_at: datetime | None
    file_copies: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A share as its owner sees it."""

    share_id: str
    conversation_id: str
    title: str
    with_files: bool
    message_count: int
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as the readers of a link see it, without its messages.

    `agent_id` is for the server alone: it chooses the agent where a reader continues the chat.
    """

    agent_id: str
    title: str
    message_count: int
    files_left_out: int
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SharedMessage:
    """A message of a snapshot. `seq` counts from 1 without gaps."""

    seq: int
    role: Role
    content: str
    status: MessageStatus
    model_used: str | None
    finish_reason: str | None
    sources: tuple[SourceRecord, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file of a snapshot. `number` stands in its address; `file.seq` is its message's."""

    number: int
    file: StoredFile


@dataclass(frozen=True, slots=True)
class SharedCopy:
    """A new conversation that continues a snapshot.

    Attributes:
        conversation_id: Its id, which is new.
        agent_id: The agent that answers in it.
        file_ids: Ids of the new owner's files, unattached yet, by their numbers in the snapshot.
    """

    conversation_id: str
    agent_id: str
    file_ids: Mapping[int, str]
