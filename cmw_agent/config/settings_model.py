"""Settings of the model: endpoint, models, prices, prompt."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import SecretStr

from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.declarations import checked, count, seconds, setting
from cmw_agent.config.settings_base import SettingsBase
from cmw_agent.config.validators import Price


def _default_model(settings: dict[str, Any]) -> str:
    names = ("openai_api_key", "openai_base_url")
    has_endpoint = any(map(settings.get, names)) or settings.get("visitor_keys") != "off"
    return "gpt-4o-mini" if has_endpoint else "demo"


class ModelSettings(SettingsBase):
    """The model and its endpoint, agents, and what the model is sent."""

    openai_api_key: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Key of the model's endpoint. A key alone means OpenAI's own endpoint.",
        "one word of printable ASCII characters",
        shown="none; the demo model answers unless an address is set",
        validation_alias="OPENAI_API_KEY",
    )
    openai_base_url: Annotated[str | None, checked(network.endpoint_url)] = setting(
        None,
        "Address of any OpenAI-compatible endpoint (OpenRouter, the Hugging Face router, Ollama, "
        "vLLM, Azure …), perhaps with a query such as `?api-version=…`. An address alone is asked "
        "without a key.",
        "an http:// or https:// address without user name, # and a key",
        shown="OpenAI's own, where a key is set",
        validation_alias="OPENAI_BASE_URL",
    )
    visitor_keys: Annotated[Literal["off", "optional", "required"], checked(values.lower)] = (
        setting(
            "off",
            "Whether visitors may enter a key of their own for the model's endpoint (an API key, or a "
            "Hugging Face token), which answers them alone and is kept in their tab: `optional` beside "
            "`OPENAI_API_KEY`, or `required` in its place. Requests to the API bring it as `X-Model-Key`.",
            "off, optional or required",
        )
    )
    visitor_key_url: Annotated[str | None, checked(network.base_url)] = setting(
        None,
        "Address of the page where visitors get such a key.",
        "an http:// or https:// address without user name, ? and #",
        shown="known for OpenAI, the Hugging Face router and OpenRouter",
    )
    model: Annotated[str, checked(values.line)] = setting(
        _default_model,
        "Name of the model, as the endpoint knows it.",
        "a name of at most 200 characters on one line",
        shown="`gpt-4o-mini`; `demo` where neither key nor address is set",
        max_length=200,
    )
    model_timeout: float = seconds(
        600,
        "Seconds to wait for the model to send anything at all. Models that think take minutes.",
        3600,
    )
    turn_timeout: float = seconds(1800, "Seconds that a whole turn may last.", 86400)
    demo_pause: float = setting(
        0.015,
        "Seconds between two words of the demo model's answers.",
        "a number of seconds from 0 to 1",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )
    stream_usage: bool = setting(
        True,
        "Ask the endpoint to count tokens. A few servers refuse `stream_options`: "
        "set `false` for them.",
        "true or false",
    )
    system_prompt: Annotated[str, checked(values.prose)] = setting(
        "You are a helpful assistant. Answer in the language of the question.",
        "What the model is told before each conversation.",
        "text of at most 20000 characters",
        max_length=20000,
    )
    history_tokens: int = count(
        8000, "Tokens of the conversation that the model sees, newest first.", 200, 10_000_000
    )

    models: Annotated[tuple[str, ...], checked(values.lines)] = setting(
        (),
        "Further models of the same endpoint, comma-separated, that users may pick for a "
        "conversation. Models of other endpoints stand in `agents.toml`.",
        "names of models separated by commas",
        shown="none",
    )
    prices: Annotated[tuple[Price, ...], checked(values.prices)] = setting(
        (),
        "What models cost, comma-separated: `model=input/output` in dollars for a million "
        "tokens. Answers then show their cost.",
        "model=input/output pairs separated by commas, such as gpt-4o-mini=0.15/0.60",
        shown="none",
    )
    agents_file: Annotated[Path, checked(values.folder)] = setting(
        Path("agents.toml"),
        "File of agents (id, name, prompt, model, toolkits, allowed origins and access of each) and "
        "of further models, each with an endpoint of its own if need be.",
        "a file's path on one line, without ?",
        shown="`agents.toml` where it is there; one agent, `assistant`, otherwise",
    )
    user_field: Annotated[
        Literal["auto", "safety_identifier", "user", "off"], checked(values.lower)
    ] = setting(
        "auto",
        "The field in which the endpoint is told an opaque name of the user whose request it "
        "is; `auto` finds out at the start which one the endpoint takes.",
        "auto, safety_identifier, user or off",
    )
    cache_salt: Annotated[Literal["off", "on", "prompt_cache_key"], checked(values.switch)] = (
        setting(
            "off",
            "Keep users apart in the endpoint's prefix cache: `on` sends vLLM's `cache_salt`, "
            "`prompt_cache_key` OpenAI's field of that name.",
            "on, off or prompt_cache_key",
        )
    )
    titles: Annotated[Literal["on", "off"], checked(values.switch)] = setting(
        "on",
        "Have a conversation on the page named by its own model after the first answer: one further "
        "request of a few hundred tokens, which counts as its user's. The demo model names none.",
        "on or off",
    )
    transcription_model: Annotated[str, checked(values.line)] = setting(
        "whisper-1",
        "Model that the endpoint's `/audio/transcriptions` is asked for.",
        "a name of at most 200 characters on one line",
        max_length=200,
    )
    voice: Annotated[Literal["auto", "on", "off"], checked(values.switch)] = setting(
        "auto",
        "Offer a microphone in the page's message box, whose recordings the endpoint writes down: "
        "`auto` where CMW_TRANSCRIPTION_MODEL is set or the endpoint is OpenAI's. A recording "
        "counts as a message. The demo model hears nothing.",
        "auto, on or off",
    )
    suggestions: Annotated[Literal["on", "off"], checked(values.switch)] = setting(
        "off",
        "Have the conversation's own model suggest what the user may write next, after each answer "
        "on the page: one further request of a few hundred tokens, which counts as its user's.",
        "on or off",
    )
    openai_org_id: Annotated[str | None, checked(values.token)] = setting(
        None,
        "Organization that requests to the endpoint are counted for: the header "
        "`OpenAI-Organization`.",
        "one word of printable ASCII characters",
        shown="none",
        validation_alias="OPENAI_ORG_ID",
    )
    openai_project_id: Annotated[str | None, checked(values.token)] = setting(
        None,
        "Project that requests to the endpoint are counted for: the header `OpenAI-Project`.",
        "one word of printable ASCII characters",
        shown="none",
        validation_alias="OPENAI_PROJECT_ID",
    )
    openai_custom_headers: Annotated[SecretStr | None, checked(network.header_lines)] = setting(
        None,
        "Further headers of each request to the endpoint, one `Name: value` on each line.",
        "lines of the form Name: value",
        shown="none",
        validation_alias="OPENAI_CUSTOM_HEADERS",
    )

    def openai_headers(self) -> dict[str, str]:
        """Return the further headers of each request to the endpoint of `OPENAI_BASE_URL`."""
        named = {
            "OpenAI-Organization": self.openai_org_id,
            "OpenAI-Project": self.openai_project_id,
        }
        lines = self.openai_custom_headers
        custom = network.headers_of(lines.get_secret_value()) if lines is not None else {}
        return {**{name: value for name, value in named.items() if value}, **custom}
