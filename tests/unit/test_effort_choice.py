"""The choice of model and effort: what the page sends, and what a conversation keeps of it."""

from typing import Any

import pytest

from cmw_agent.chat.model_choice import EFFORT, MODEL, ModelChoice, settle
from cmw_agent.config.agent_profiles import load_profiles
from cmw_agent.config.model_loader import load_models
from cmw_agent.web.page.page_request import model_choice
from tests.harness import settings_for


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("m1", ("m1", None)),
        (["m1", "high"], ("m1", "high")),
        (["m1"], ("m1", None)),
        ([], (None, None)),
        ([["m1"], {"high": 1}, "x"], (None, None)),
        (None, (None, None)),
        ({"model": "m1"}, (None, None)),
        (7, (None, None)),
    ],
)
def test_whatever_a_page_sends_is_a_choice_or_none(sent: object, read: object) -> None:
    assert model_choice(sent) == read


def test_an_effort_is_kept_until_another_or_the_default_is_chosen(tmp_path: Any) -> None:
    settings = settings_for(tmp_path, openai_api_key="k", model="m1", models="m2")
    models = load_models(settings)
    agent = next(iter(load_profiles(settings, models).values()))
    kept: dict[str, Any] = {}
    for chosen, effort, changes in (
        ("high", "high", {EFFORT: "high"}),
        (None, "high", {}),
        ("invented", "high", {}),
        ("low", "low", {EFFORT: "low"}),
        ("auto", None, {EFFORT: None}),
        ("auto", None, {}),
        (None, None, {}),
    ):
        settled = settle(models, agent, ModelChoice.of("m1", chosen), kept)
        assert settled == ("m1", effort, changes)
        kept |= changes
    assert ModelChoice.of("m2", "auto").context(models, agent) == {MODEL: "m2"}
    assert ModelChoice.of("m2", "low").context(models, agent) == {MODEL: "m2", EFFORT: "low"}
    assert ModelChoice.of(None, "auto").requested_effort is None
