"""What the page's scripts get to know of an agent's look, and the app's own icon."""

from typing import Any, Final

from cmw_agent.config.agent_profiles import BUILT_IN, AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.config.pictures import SVG, Picture
from cmw_agent.language import Language
from cmw_agent.web.page.colours import colour_css

BUBBLE: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<g transform="scale(.0625)">'
    '<rect width="512" height="512" rx="116" fill="{colour}"/>'
    '<path fill="#fff" d="M150 136h212a54 54 0 0 1 54 54v112a54 54 0 0 1-54 54H266l-86 66a12 12 0 0 1'
    '-19-10v-56h-11a54 54 0 0 1-54-54V190a54 54 0 0 1 54-54z"/>'
    '<g fill="{colour}"><circle cx="178" cy="246" r="26"/><circle cx="256" cy="246" r="26"/>'
    '<circle cx="334" cy="246" r="26"/></g></g></svg>'
)


def icon_of(look: Look) -> Picture:
    """Return the icon of a look: the operator's, else a speech bubble in the look's colour."""
    return look.icon or Picture(SVG, BUBBLE.format(colour=look.colour).encode("ascii"))


def look_of(look: Look, agent: AgentProfile | None, language: Language) -> dict[str, Any]:
    """Return a look as the page's scripts read it; pictures as `data:` addresses.

    Args:
        look: The look.
        agent: The agent that has it; None where nobody is to answer before a sign-in.
        language: The reader's language. It has the app's own texts, and none of an operator's.
    """
    return {
        "agent": agent.id if agent is not None else None,
        # The built-in agent is the app itself.
        "agent_name": "" if agent is None or agent.id == BUILT_IN else agent.name,
        "name": look.name,
        "logo": look.logo.uri if look.logo is not None else None,
        "icon": icon_of(look).uri,
        "colours": colour_css(look.colour),
        "welcome": language.translate(look.welcome),
        "examples": [language.translate(example) for example in look.examples],
        "footer": language.translate(look.footer),
    }
