"""Auth configs at Composio: how the accounts of a toolkit are authorized, shared by all users."""

import asyncio
from collections.abc import Iterable, Mapping

from cmw_agent.tools.composio.accounts import toolkit_slug
from cmw_agent.tools.composio.client import ComposioClient, ComposioError


class AuthConfigs:
    """Finds the auth config of each toolkit, and creates one that Composio manages if needed.

    Args:
        client: Client of Composio's API.
        toolkits: Slugs of the configured toolkits.
        given: Ids that the operator has set, by toolkit.
    """

    def __init__(
        self, client: ComposioClient, toolkits: Iterable[str], given: Mapping[str, str]
    ) -> None:
        self._client = client
        self._given = given
        self._locks = {slug: asyncio.Lock() for slug in toolkits}

    async def id_of(self, toolkit: str) -> str:
        """Return the id of the auth config of `toolkit`.

        Raises:
            ComposioError: Composio failed.
        """
        if config_id := self._given.get(toolkit) or await self._find(toolkit):
            return config_id
        async with self._locks[toolkit]:
            if config_id := await self._find(toolkit):
                return config_id
            answer = await self._client.call(
                self._client.client.auth_configs.with_raw_response.create,
                toolkit={"slug": toolkit},
                auth_config={"type": "use_composio_managed_auth"},
            )
        config = answer.get("auth_config") if isinstance(answer, dict) else None
        if not isinstance(config, dict) or not isinstance(config.get("id"), str):
            raise ComposioError("malformed")
        return str(config["id"])

    async def _find(self, toolkit: str) -> str | None:
        configs = await self._client.list_all(
            self._client.client.auth_configs.with_raw_response.list, toolkit_slug=toolkit
        )
        enabled = [
            config
            for config in configs
            if toolkit_slug(config) == toolkit and config.get("status", "ENABLED") == "ENABLED"
        ]
        newest = max(enabled, key=lambda config: str(config.get("created_at")), default={})
        return newest.get("id")
