"""The control server without a fault keeps apart what each wire names."""

import contextlib

import pytest

from cmw_agent.proof.storm.chainlit import ChainlitChannel, ChainlitChat
from cmw_agent.proof.storm.chainlit_socket import ChainlitSocket, ConnectionRefusedByAppError
from cmw_agent.proof.storm.channels import CROWD
from cmw_agent.proof.storm.control_server import ControlServer
from cmw_agent.proof.storm.evidence import Evidence
from cmw_agent.proof.storm.visitors import Entrance
from cmw_agent.proof.storm.wire import Budget, Terms
from tests.harness import WAIT


async def test_a_session_of_chainlit_is_refused_to_another_login() -> None:
    channel = ChainlitChannel(()).control()
    async with ControlServer(None).serving() as url, contextlib.AsyncExitStack() as stack:
        entrance = Entrance(Terms(url, patience=WAIT), Budget.of(1_000, WAIT), Evidence())
        owner = await entrance.enter(stack, channel, "user", 0)
        stranger = await entrance.enter(stack, channel, "stranger", 1)
        for each in (owner, stranger):
            await each.chat.open(CROWD)
        assert isinstance(owner.chat, ChainlitChat)
        socket = ChainlitSocket(stranger.wire, CROWD)
        try:
            with pytest.raises(ConnectionRefusedByAppError, match="authorization failed"):
                await socket.open(owner.chat.session)
        finally:
            await socket.close()
