"""Settings that limit turns, tokens and files."""

from typing import Annotated

from pydantic import SecretStr

from cmw_agent.config import network_validators as network
from cmw_agent.config.declarations import checked, count, seconds, setting
from cmw_agent.config.settings_base import SettingsBase


class LimitSettings(SettingsBase):
    """Limits of users, network addresses, answers and files."""

    turns_per_minute: int = count(
        30, "Messages that one user may send in a minute; 0 sets no limit.", 0, 1_000_000
    )
    tokens_per_day: int = count(
        0, "Tokens that one user may use in a day; 0 sets no limit.", 0, 1_000_000_000_000
    )
    turns_at_once: int = count(
        5, "Answers that may be written for one user at once; 0 sets no limit.", 0, 10_000
    )
    turns_per_address: int = count(
        300,
        "Messages that one network address may send in a minute, whoever asks; 0 sets no limit. "
        "Behind a proxy set `CMW_TRUST_PROXY`, or all users share the proxy's address.",
        0,
        1_000_000,
    )
    address_share: float = setting(
        0.5,
        "Share of the app that one network address may hold while nobody else does: of turns, open "
        "pages, connections, uploads and the like. The more others hold, the less it may; 1 sets "
        "no limit.",
        "a number from 0.01 to 1",
        ge=0.01,
        le=1,
        allow_inf_nan=False,
    )
    max_tool_calls: int = count(25, "Tool calls of one answer.", 1, 1000)
    max_model_calls: int = count(12, "Model calls of one answer.", 1, 1000)
    redis_url: Annotated[SecretStr | None, checked(network.redis_url)] = setting(
        None,
        "Redis that counts for the limits of all replicas together.",
        "redis://HOST:PORT/NUMBER or rediss://…",
        shown="none; each process counts for itself",
    )

    max_file_bytes: int = count(20_000_000, "Bytes of one uploaded file.", 1024, 1_073_741_824)
    file_quota_bytes: int = count(
        200_000_000, "Bytes of all files that one user keeps.", 1024, 1_099_511_627_776
    )
    file_total_bytes: int = count(
        20_000_000_000, "Bytes of all files that all users keep.", 1024, 1_125_899_906_842_624
    )
    max_import_mb: int = count(
        300, "Megabytes of an imported file; its text and its files unpacked alike.", 1, 10_000
    )
    disk_spare_bytes: int = count(
        1_000_000_000, "Bytes of the disk that uploads leave free.", 0, 1_125_899_906_842_624
    )
    extraction_seconds: float = seconds(30, "Seconds that reading a document may take.", 3600)
    extraction_megabytes: int = count(
        1024, "Megabytes of memory that reading a document may take.", 256, 1_048_576
    )
