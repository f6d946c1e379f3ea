"""Choice of the bridge that the settings name."""

from collections.abc import Mapping

from cmw_agent.channels.whatsapp.bridges.bridge import Bridge
from cmw_agent.channels.whatsapp.bridges.evolution import Evolution
from cmw_agent.channels.whatsapp.bridges.gowa import Gowa
from cmw_agent.channels.whatsapp.bridges.own import OwnBridge
from cmw_agent.channels.whatsapp.bridges.unoapi import UnoApi
from cmw_agent.channels.whatsapp.bridges.waha import Waha
from cmw_agent.channels.whatsapp.bridges.wppconnect import WppConnect
from cmw_agent.channels.whatsapp.bridges.wwebjs import WWebJs
from cmw_agent.config.settings import Settings

BRIDGES: Mapping[str, type[Bridge]] = {
    "own": OwnBridge,
    "wppconnect": WppConnect,
    "waha": Waha,
    "evolution": Evolution,
    "gowa": Gowa,
    "wwebjs": WWebJs,
    "unoapi": UnoApi,
}


def bridge_of(settings: Settings) -> Bridge:
    """Return the bridge that the settings name."""
    token = settings.whatsapp_bridge_token
    return BRIDGES[settings.whatsapp_bridge](
        secrets_of(settings),
        token="" if token is None else token.get_secret_value(),
        session=settings.whatsapp_bridge_session,
        numbers=settings.whatsapp_numbers,
    )


def secrets_of(settings: Settings) -> list[str]:
    """Return what proves that a delivery is the bridge's or Meta's; none where nothing does."""
    if settings.whatsapp_secret is None:
        return []
    parts = settings.whatsapp_secret.get_secret_value().split(",")
    return [part.strip() for part in parts if part.strip()]
