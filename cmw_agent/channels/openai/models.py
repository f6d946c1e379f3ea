"""Requests and responses of the OpenAI-shaped interface; fields that are not listed are passed over."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

MAX_MESSAGES = 2_000
MAX_TOOLS = 128
MAX_STOPS = 16
MAX_TOKENS = 10_000_000
LARGEST_SEED = 2**63 - 1


class ContentPart(BaseModel):
    """A part of a message."""

    type: str = Field(examples=["text"])
    text: str | None = None
    refusal: str | None = None
    image_url: dict[str, Any] | str | None = Field(
        default=None,
        description="`url` (https, or a data URL with PNG, JPEG, GIF or WebP) and `detail`.",
    )
    input_audio: dict[str, Any] | None = None


class ChatMessage(BaseModel):
    """A message of the conversation."""

    role: str = Field(examples=["user"])
    content: str | list[ContentPart] | None = Field(default=None, examples=["What is my name?"])
    name: Annotated[str | None, Field(max_length=64)] = None
    tool_calls: list[dict[str, Any]] | None = Field(
        default=None, description="Calls of the caller's tools, as an answer has returned them."
    )
    tool_call_id: str | None = Field(default=None, description="Of the call whose result it is.")


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
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    seed: Annotated[int | None, Field(ge=-LARGEST_SEED, le=LARGEST_SEED)] = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = Field(
        default=None, description="Of the answer; counts before `max_tokens`."
    )
    response_format: dict[str, Any] | None = None
    logit_bias: dict[str, float] | None = None
    verbosity: str | None = None
    tools: Annotated[list[dict[str, Any]] | None, Field(max_length=MAX_TOOLS)] = Field(
        default=None, description="Functions that the caller runs: calls of them are returned."
    )
    tool_choice: str | dict[str, Any] | None = Field(
        default=None, description="Of `tools` alone; the agent's own tools are its own affair."
    )
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = Field(default=None, description="false: none are given.")
    functions: list[Any] | None = Field(default=None, description="Refused: send `tools`.")
    function_call: Any = Field(default=None, description="Refused: send `tool_choice`.")
    reasoning_effort: str | None = Field(
        default=None,
        description="How much the model thinks, where it has a choice; others are passed over.",
        examples=["low"],
    )
    user: Annotated[str | None, Field(max_length=512)] = Field(
        default=None, description="Names one of your users, whose limits are counted apart."
    )
    safety_identifier: Annotated[str | None, Field(max_length=512)] = Field(
        default=None, description="As `user`, which counts first."
    )


class EmbeddingsRequest(BaseModel):
    """A request for embeddings."""

    model: str = Field(description="A model of the endpoint's.")
    input: str | list[Any]
    encoding_format: str | None = Field(default=None, examples=["float"])
    dimensions: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
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
    object: str = "model"
    created: int = 0
    owned_by: str = "cmw-agent"


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
