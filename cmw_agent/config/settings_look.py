"""Settings of the page's own look."""

from pathlib import Path
from typing import Annotated

from cmw_agent.config import look as values
from cmw_agent.config import pictures
from cmw_agent.config.declarations import SettingValueError, checked, setting
from cmw_agent.config.look import Look
from cmw_agent.config.pictures import Picture, PictureError
from cmw_agent.config.settings_base import SettingsBase

SHOWN_CHARS = 60  # of a wrong value
PICTURE = f"the path or data: address of {pictures.ALLOWED}"


def _picture(text: str) -> Picture:
    try:
        return pictures.read_picture(text, Path.cwd())
    except PictureError as error:
        raise SettingValueError(f"must be {PICTURE}, not {text[:SHOWN_CHARS]!r}: {error}") from None


class LookSettings(SettingsBase):
    """Name, logo, colour, icon, welcome text, examples, footer."""

    name: Annotated[str, checked(values.short_line)] = setting(
        values.NAME, "Name of the app, as its users see it.", values.TEXT_ALLOWED
    )
    logo: Annotated[Picture | None, checked(_picture)] = setting(
        None,
        "Picture beside the name: a file, or a `data:` address. The look of an agent can be set "
        "in `agents.toml` too.",
        PICTURE,
        shown="none",
    )
    icon: Annotated[Picture | None, checked(_picture)] = setting(
        None,
        "Icon of the browser's tab and of the installed app, square: a file, or a `data:` address.",
        PICTURE,
        shown="a speech bubble",
    )
    colour: Annotated[str, checked(values.colour)] = setting(
        values.COLOUR,
        "Colour of buttons and marks; where it is too faint to read it is made darker or lighter.",
        values.COLOUR_ALLOWED,
    )
    welcome: Annotated[str, checked(values.short_line)] = setting(
        values.WELCOME, "Heading of an empty chat.", values.TEXT_ALLOWED
    )
    examples: Annotated[tuple[str, ...], checked(values.examples)] = setting(
        values.EXAMPLES,
        "Messages that an empty chat offers, separated by `|`; `none` for none.",
        f"{values.EXAMPLES_ALLOWED}, separated by |, or none",
        shown=" | ".join(values.EXAMPLES),
    )
    footer: Annotated[str, checked(values.optional_line)] = setting(
        values.FOOTER,
        "Line below the box; `none` for none.",
        f"{values.TEXT_ALLOWED}, or none",
    )

    @property
    def look(self) -> Look:
        """The look of the page for agents that set none of their own."""
        return Look(
            self.name,
            self.logo,
            self.colour,
            self.icon,
            self.welcome,
            self.examples,
            self.footer,
        )
