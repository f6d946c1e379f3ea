"""Model profiles: a file is valid in every part, or refused; a key is sent to its own origin alone."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.config.agent_profiles import load_profiles
from cmw_agent.config.model_loader import MAX_MODELS, READERS, load_models
from cmw_agent.config.model_profiles import ModelProfile, Models
from cmw_agent.config.settings import Settings, load_settings
from cmw_agent.config.validators import Price
from cmw_agent.core.errors import StartupError
from tests.harness import settings_for

DEFAULT_KEY, OTHER_KEY = "sk-default-0123456789", "sk-other-0123456789"
DEFAULT_URL = "https://default.example/v1"


def settings(folder: Path, **changes: Any) -> Settings:
    known: dict[str, Any] = {
        "agents_file": folder / "agents.toml",
        "openai_base_url": DEFAULT_URL,
        "openai_api_key": DEFAULT_KEY,
        "model": "m1",
        "models": "m2",
    }
    return settings_for(folder, **{**known, **changes})


def loaded(folder: Path, text: str, **changes: Any) -> Models:
    (folder / "agents.toml").write_text(text)
    return load_models(settings(folder, **changes))


def refusal(folder: Path, text: str, **changes: Any) -> str:
    """Return the line with which a file is refused, after the file's name."""
    with pytest.raises(StartupError) as caught:
        loaded(folder, text, **changes)
    line = str(caught.value)
    assert line.isprintable()
    return line.removeprefix(f"CMW_AGENTS_FILE: {folder / 'agents.toml'}").strip()


def secret(profile: ModelProfile) -> str | None:
    return profile.api_key.get_secret_value() if profile.api_key is not None else None


def test_without_a_file_the_models_are_those_of_the_settings(tmp_path: Path) -> None:
    models = load_models(settings(tmp_path, model_timeout=70, prices="m2=1/2"))
    assert (list(models.by_id), models.default, models.is_demo) == (["m1", "m2"], "m1", False)
    for profile in models.by_id.values():
        assert (profile.name, profile.base_url) == (profile.id, DEFAULT_URL)
        assert (secret(profile), profile.silence, profile.fallback) == (DEFAULT_KEY, 70, ())
    assert models.prices == (Price("m2", Decimal(1), Decimal(2)),)


def test_a_file_changes_models_of_the_settings_and_adds_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", OTHER_KEY)
    models = loaded(
        tmp_path,
        """
        [[models]]
        id = "large"
        name = "vendor/large-2"
        endpoint = "https://other.example/v1/"
        key = "OTHER_KEY"
        api = "responses"
        context_tokens = 128000
        output_tokens = 4000
        temperature = 0.5
        top_p = 1
        seed = 7
        effort = "low"
        extra_body = {top_k = 5, provider = {order = ["a"]}}
        extra_headers = {X-Title = "chat", X-Token = "$OTHER_KEY"}
        tools = false
        vision = false
        system = false
        text_calls = true
        silence = 30.5
        price = {input = 0.1, output = 2}
        fallback = ["m2", "m1"]
        [[models]]
        id = "m2"
        temperature = 1
        """,
        prices="large=9/9,m2=1/2",
    )
    assert list(models.by_id) == ["m1", "m2", "large"]
    large = models.by_id["large"]
    assert secret(large) == OTHER_KEY
    assert large == ModelProfile(
        id="large",
        name="vendor/large-2",
        base_url="https://other.example/v1",
        api_key=large.api_key,
        api="responses",
        context_tokens=128000,
        output_tokens=4000,
        temperature=0.5,
        top_p=1,
        seed=7,
        effort="low",
        extra_body={"top_k": 5, "provider": {"order": ["a"]}},
        extra_headers={"x-title": "chat", "x-token": OTHER_KEY},
        has_tools=False,
        has_vision=False,
        has_system=False,
        text_calls=True,
        silence=30.5,
        price=Price("vendor/large-2", Decimal("0.1"), Decimal(2)),
        fallback=("m2", "m1"),
    )
    changed = models.by_id["m2"]
    assert (changed.temperature, changed.base_url, secret(changed)) == (1, DEFAULT_URL, DEFAULT_KEY)
    assert {price.model: price.output for price in models.prices} == {"large": 2, "m2": 2}
    assert OTHER_KEY not in repr(models)


@pytest.mark.parametrize(
    ("endpoint", "is_sent"),
    [
        ("https://default.example/v2", True),
        ("https://default.example:443/v1", True),
        ("https://default.example:8443/v1", False),
        ("http://default.example/v1", False),
        ("https://default.example.evil/v1", False),
        ("https://evil.example/default.example", False),
    ],
)
def test_the_settings_key_goes_to_their_own_origin_alone(
    tmp_path: Path, endpoint: str, is_sent: bool
) -> None:
    models = loaded(tmp_path, f"[[models]]\nid = 'x'\nendpoint = '{endpoint}'\n")
    assert secret(models.by_id["x"]) == (DEFAULT_KEY if is_sent else None)


def test_a_key_may_stand_in_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTHER_KEY", raising=False)
    (tmp_path / "agents.toml").write_text(
        "[[models]]\nid = 'x'\nendpoint = 'https://o.example'\nkey = 'OTHER_KEY'\n"
    )
    env_file = tmp_path / ".env"
    env_file.write_text(
        f"CMW_AGENTS_FILE={tmp_path / 'agents.toml'}\nOTHER_KEY={OTHER_KEY}\n", encoding="utf-8-sig"
    )
    assert secret(load_models(load_settings(env_file)).by_id["x"]) == OTHER_KEY
    monkeypatch.setenv("OTHER_KEY", "sk-of-the-environment")
    assert secret(load_models(load_settings(env_file)).by_id["x"]) == "sk-of-the-environment"


def test_the_model_of_the_example_is_right_and_names_every_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGE_KEY", OTHER_KEY)
    monkeypatch.setenv("TEAM_TOKEN", "team")
    example = (Path(__file__).parents[2] / "agents.example.toml").read_text(encoding="utf-8")
    _, start, rest = example.partition("#[[models]]\n")
    rest, _, _ = rest.partition("\n\n")  # the next table follows
    lines = [line.removeprefix("#") for line in (start + rest).splitlines()]
    large = loaded(tmp_path, "\n".join(lines), models="gpt-4o-mini").by_id["large"]
    assert (large.name, secret(large), large.fallback) == (
        "vendor/large-2",
        OTHER_KEY,
        ("gpt-4o-mini",),
    )
    assert large.extra_headers["x-team"] == "team"
    assert {line.partition(" = ")[0] for line in lines[1:]} == set(READERS)


NONE: dict[str, Any] = {"openai_base_url": None, "openai_api_key": None, "models": ""}
ALONE = "[[models]]\nid = 'x'\nendpoint = 'http://127.0.0.1:1/v1'\n"


def test_a_model_of_the_file_replaces_the_demo_that_nobody_asked_for(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(ALONE)
    values = {k: v for k, v in NONE.items() if k != "models"}
    bare = settings_for(tmp_path, **values)
    models = load_models(bare)
    assert (list(models.by_id), models.is_demo) == (["x"], False)
    assert load_profiles(bare, models)["assistant"].model == "x"
    named = loaded(tmp_path, ALONE, **NONE, model="demo")
    assert (list(named.by_id), named.is_demo) == (["demo", "x"], True)
    (tmp_path / "agents.toml").unlink()
    assert load_models(bare).is_demo


def test_without_an_address_in_the_settings_a_model_needs_one(tmp_path: Path) -> None:
    line = ", model 'x': must have an endpoint: OPENAI_BASE_URL is not set"
    assert refusal(tmp_path, "[[models]]\nid = 'x'\n", **NONE) == line


NUMBER = "a whole number from {} to 100000000"
KEY = (
    "key must be the name of an environment variable such as OPENROUTER_API_KEY, which holds the "
    "key; never the key itself"
)
HEADERS = (
    "extra_headers must be a table of header names and their texts, or $NAME for an environment "
    "variable's value, without headers that the app sends itself, such as Authorization"
)
BODY = (
    "extra_body must be a table of fields other than conversation, input, messages, model, "
    "previous_response_id, store, stream, stream_options, tools"
)
PRICE = (
    "price must be a table such as {input = 0.15, output = 0.60}, in dollars for a million tokens"
)
FALLBACK = "fallback must be a list of ids of other models, each once"
ENDPOINT = "endpoint must be an http:// or https:// address without user name, # and a key"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("api_key = 'sk-123'", "has an unknown key 'api_key'; did you mean key?"),
        ("zzz = 1", f"has an unknown key 'zzz'; known are {', '.join(READERS)}"),
        ("name = ''", "name must be a name of at most 200 characters on one line, not ''"),
        ("endpoint = 'ftp://x'", ENDPOINT),
        ("endpoint = 'https://me:secret@x.example/v1'", ENDPOINT),
        ("endpoint = 'https://x.example/v1?api-key=sk-0123'", ENDPOINT),
        ("endpoint = 7", ENDPOINT),
        ("key = 'sk-proj-0123456789'", KEY),
        ("key = 'gsk_0123456789'", KEY),
        ("key = 'AKIAIOSFODNN7EXAMPLE'", KEY),
        ("key = ''", KEY),
        ("key = 7", KEY),
        ("key = 'NO_SUCH_KEY'", "key names the variable NO_SUCH_KEY, which is not set"),
        ("key = 'EMPTY_KEY'", "key names the variable EMPTY_KEY, which is not set"),
        ("key = 'BROKEN_KEY'", "whose value must be one line of ASCII"),
        ("api = 'completions'", 'api must be "chat" or "responses", not \'completions\''),
        ("context_tokens = 499", f"context_tokens must be {NUMBER.format(500)}, not '499'"),
        ("context_tokens = true", f"context_tokens must be {NUMBER.format(500)}, not 'True'"),
        ("output_tokens = 0", f"output_tokens must be {NUMBER.format(1)}, not '0'"),
        ("output_tokens = 1.5", f"output_tokens must be {NUMBER.format(1)}, not '1.5'"),
        ("temperature = 2.1", "temperature must be a number from 0 to 2, not '2.1'"),
        ("temperature = nan", "temperature must be a number from 0 to 2, not 'nan'"),
        ("top_p = '1'", "top_p must be a number from 0 to 1, not '1'"),
        ("seed = 1.0", "seed must be a whole number of 64 bits, not '1.0'"),
        ("effort = 'huge'", "effort must be one of none, minimal, low, medium, high, xhigh"),
        ("silence = 0", "silence must be a number of seconds above 0 and at most 86400, not '0'"),
        ("tools = 'yes'", "tools must be true or false, not 'yes'"),
        ("vision = 1", "vision must be true or false, not '1'"),
        ("extra_body = {model = 'y'}", BODY),
        ("extra_body = {messages = []}", BODY),
        ("extra_body = {stream = false}", BODY),
        ("extra_body = {conversation = 'conv_1'}", BODY),
        ("extra_body = {previous_response_id = 'resp_1'}", BODY),
        ("extra_body = []", BODY),
        ("extra_body = {when = 2026-01-01}", "extra_body must be a table without dates"),
        ("extra_body = {x = [inf]}", "extra_body must be a table without dates"),
        ("extra_headers = {Authorization = 'Bearer sk-0123'}", HEADERS),
        ("extra_headers = {cookie = 'a=b'}", HEADERS),
        ("extra_headers = {Host = 'x'}", HEADERS),
        ("extra_headers = {'a b' = 'x'}", HEADERS),
        ('extra_headers = {a = "x\\r\\nHost: y"}', HEADERS),
        ("extra_headers = {a = 'x', A = 'y'}", HEADERS),
        ("extra_headers = {a = 1}", HEADERS),
        ("extra_headers = {a = '$lower'}", HEADERS),
        ("extra_headers = {a = '$NO_KEY'}", "extra_headers names the variable NO_KEY, which"),
        ("price = {input = 1}", PRICE),
        ("price = {input = 1, output = -1}", PRICE),
        ("price = 3", PRICE),
        ("fallback = 'm1'", FALLBACK),
        ("fallback = ['m1', 'm1']", FALLBACK),
        ("fallback = ['m9']", "fallback must name models that there are (m1, m2, x), not 'm9'"),
        ("fallback = ['x']", "must not be its own fallback"),
    ],
)
def test_what_is_wrong_with_a_model_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, said: str
) -> None:
    monkeypatch.setenv("EMPTY_KEY", " ")
    monkeypatch.setenv("BROKEN_KEY", "sk-0123\nx")
    line = refusal(tmp_path, f"[[models]]\nid = 'x'\n{lines}\n")
    assert line.startswith(f", model 'x': {said}") or said in line
    for hidden in ("sk-", "0123", "AKIA", "me:secret"):
        assert hidden not in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[models]]\nname = 'x'\n", ", model number 1: must have an id"),
        ("[[models]]\nid = 'a'\n[[models]]\nid = 'a'\n", ", model 'a': has an id that is taken"),
        ("models = ['a']\n", "must hold each model as a table under [[models]]"),
        (
            "[[model]]\nid = 'a'\n",
            "holds 'model'; only [[agents]], [[models]], [[mcp]], [[openapi]] and [access] tables",
        ),
        ("[[models]]\n" * (MAX_MODELS + 1), f"must hold at most {MAX_MODELS} models"),
    ],
)
def test_what_is_wrong_with_the_models_of_a_file_is_said_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    assert refusal(tmp_path, text).startswith(said)


AGENTS = """
[[models]]
id = "thinker"
effort = "high"
temperature = 1
fallback = ["m1"]
[[agents]]
id = "plain"
[[agents]]
id = "own"
model = "thinker"
temperature = 0.2
top_p = 0.9
seed = 3
effort = "low"
output_tokens = 50
fallback = []
[[agents]]
id = "eager"
model = "m2"
effort = "medium"
"""


def test_an_agent_changes_what_its_model_says(tmp_path: Path) -> None:
    models = loaded(tmp_path, AGENTS)
    agents = load_profiles(settings(tmp_path), models)
    plain, own, eager = agents["plain"], agents["own"], agents["eager"]
    assert models.tuned(plain, "thinker") == models.by_id["thinker"]
    tuned = models.tuned(own, "thinker")
    assert (tuned.temperature, tuned.top_p, tuned.seed) == (0.2, 0.9, 3)
    assert (tuned.effort, tuned.output_tokens) == ("low", 50)
    assert (models.line(plain, "thinker"), models.line(own, "thinker")) == (
        ("thinker", "m1"),
        ("thinker",),
    )
    # An effort is sent to those alone that have one: the models that the file gives one, and the
    # agent's own where the agent does.
    assert models.choices(plain) == [("m1", False), ("m2", False), ("thinker", True)]
    assert models.choices(eager) == [("m2", True), ("m1", False), ("thinker", True)]
    assert models.tuned(plain, "m1", "high").effort is None
    assert models.tuned(plain, "thinker", "none").effort == "none"
    assert models.tuned(eager, "m2", "xhigh").effort == "xhigh"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("temperature = 3", "temperature must be a number from 0 to 2, not '3'"),
        ("effort = 'huge'", "effort must be one of none, minimal, low, medium, high, xhigh"),
        ("fallback = ['m9']", "fallback must be a list of models of CMW_MODEL, CMW_MODELS or"),
        ("model = 'm2'\nfallback = ['m2']", "must not have its own model as fallback"),
    ],
)
def test_what_an_agent_says_of_its_model_is_checked(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "agents.toml").write_text(f"[[agents]]\nid = 'a'\n{lines}\n")
    with pytest.raises(StartupError) as caught:
        load_profiles(settings(tmp_path))
    assert f", agent 'a': {said}" in str(caught.value)
