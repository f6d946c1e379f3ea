"""Base class of the groups of settings: names of variables, sources, and the fields of Spaces."""

from pydantic import AliasGenerator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "CMW_"


class SettingsBase(BaseSettings):
    """Configures how pydantic reads settings, and declares what Hugging Face Spaces sets."""

    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda field: PREFIX + field.upper()),
        case_sensitive=True,
        # With `validate_by_name`, pydantic-settings also reads a variable with the field's name;
        # the prefix excludes a shell's own `host` or `port`.
        env_prefix=PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_by_name=True,
    )

    space_id: str | None = Field(None, validation_alias="SPACE_ID")
    """Set by Hugging Face Spaces only."""
    space_host: str | None = Field(None, validation_alias="SPACE_HOST")
    """Host name of the Space; set by Hugging Face Spaces."""
