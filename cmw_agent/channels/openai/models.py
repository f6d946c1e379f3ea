"""What the OpenAI-shaped interface takes; what it does not know it passes over."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

MAX_MESSAGES = 2_000


class ContentPart(BaseModel):
    """A part of a message."""

    type: str = Field(examples=["text"])
    text: str | None = None


class ChatMessage(BaseModel):
    """A message of the conversation."""

    role: str = Field(examples=["user"])
    content: str | list[ContentPart] | None = Field(default=None, examples=["What is my name?"])


class StreamOptions(BaseModel):
    """What a stream is to bring."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """A request for a chat completion."""

    model: str = Field(description="An agent's id, or a model of the assistant's.")
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, description="1: there is one answer.")
    reasoning_effort: str | None = Field(
        default=None,
        description="How much the model thinks, where it has a choice; others are passed over.",
        examples=["low"],
    )
    user: Annotated[str | None, Field(max_length=512)] = Field(
        default=None, description="Names one of your users, whose limits are counted apart."
    )


class Choice(BaseModel):
    """The answer."""

    index: int
    message: dict[str, Any]
    finish_reason: str
    native_finish_reason: str | None = Field(
        default=None, description="`missing` where the model's server did not say it."
    )


class Completion(BaseModel):
    """A chat completion."""

    id: str
    object: str = Field(examples=["chat.completion"])
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any] | None


class Model(BaseModel):
    """An agent or a model of the assistant's, as such clients list models."""

    id: str
    object: str = Field(examples=["model"])
    created: int
    owned_by: str


class ModelList(BaseModel):
    """What a request may name as its model."""

    object: str = Field(examples=["list"])
    data: list[Model]


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str | None
    param: str | None


class OpenAIError(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorBody
