"""The texts of the page's components in a language, by the components' ids."""

from collections.abc import Mapping, Sequence
from typing import Any

from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.config.model_profiles import Models
from cmw_agent.language import Language
from cmw_agent.web.page import box_tools, header

Texts = Mapping[str, Mapping[str, Any]]


class PageTexts:
    """Makes the texts of the page's components.

    Args:
        models: The models to choose from.
        profiles: The agents that everybody may use.
        look: How the app looks.
        has_voice: Whether recordings can be written down.
        suggests: Whether the model suggests what may be written next.
    """

    def __init__(
        self,
        models: Models,
        profiles: Sequence[AgentProfile],
        look: Look,
        *,
        has_voice: bool,
        suggests: bool,
    ) -> None:
        self._models = models
        self._agents = profiles
        self._look = look
        self._has_voice = has_voice
        self._first = next(iter(profiles), None)  # answers where a page names no agent
        self._suggests = suggests

    def of(self, language: Language) -> Texts:
        """Return the properties that hold text, by name, of each component that has any."""
        tools = box_tools.tools(
            self._models,
            self._agents,
            language,
            has_voice=self._has_voice,
            suggests=self._suggests,
        )
        return {
            "cmw-brand": {"value": header.brand(self._look, language)},
            "cmw-new": {"value": language.gettext("New chat")},
            "cmw-temporary": {"value": language.gettext("Temporary chat")},
            "cmw-head": {"value": header.heading(self._models, self._first, self._look, language)},
            "cmw-earlier": {"value": language.gettext("Show earlier messages")},
            "cmw-input": {
                "label": language.gettext("Message"),
                "placeholder": language.gettext("Write a message…"),
            },
            "cmw-foot": {"value": tools + header.footer(self._look, language)},
        }
