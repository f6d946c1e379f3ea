"""``python -m benchmarks.exports``: what exports that nobody reads take of the app's memory.

A visitor has a conversation of 64 MB, asks for it 20 times at once over connections with a small
buffer, and reads no more than each answer's status. Printed are the app's resident memory before
and at most while the exports wait, and how many were served and how many refused.
"""

import asyncio
import os
import secrets
import socket
import tempfile
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from benchmarks.processes import CLIENT_CORE, Server, contender, free_port
from cmw_agent.identity.principals import Identities, Principal
from memory.engine.database import migrate, open_database
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn

EXPORTS = 20
TURNS, MESSAGE = 128, "lorem ipsum dolor " * 13_889  # of 250 kB, two in each turn: 64 MB
CONVERSATION = "of-64-mb"
BUFFER_BYTES = 4_096
SECONDS = 10  # while they wait; those that nobody reads are cut off after 30
MB = 1e6


async def fill(folder: Path, owner: str) -> None:
    """Store the conversation in a database of its own, as the app does."""
    database = open_database(f"sqlite:///{folder / 'chat.db'}")
    try:
        await migrate(database)
        memory = ConversationMemoryManager(database)
        for number in range(TURNS):
            origin = ConversationOrigin() if number == 0 else None
            turn = NewTurn(CONVERSATION, MESSAGE, key=str(number), origin=origin)
            ticket = await memory.begin_turn(owner, turn)
            await memory.finish_turn(
                owner, ticket.turn_id, status="complete", content=MESSAGE, tool_calls=[],
                tokens_used=7, latency_ms=7, model_used="m", error_id=None,
            )  # fmt: skip
    finally:
        await database.dispose()


async def begun(server: Server, cookie: str) -> tuple[socket.socket, int]:
    """Ask for an export; return its connection, unread from now on, and HTTP's status."""
    address, loop = urlsplit(server.url), asyncio.get_running_loop()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    connection.setblocking(False)
    await loop.sock_connect(connection, (address.hostname, address.port))
    request = (
        f"GET /history/export?id={CONVERSATION}&format=md HTTP/1.1\r\n"
        f"Host: {address.netloc}\r\nCookie: cmw_visitor={cookie}\r\n\r\n"
    )
    await loop.sock_sendall(connection, request.encode())
    head = await loop.sock_recv(connection, len("HTTP/1.1 200"))
    return connection, int(head.split()[1])


async def most_memory(server: Server) -> int:
    """Return the most bytes that the server holds within the next seconds."""
    most, loop = 0, asyncio.get_running_loop()
    end = loop.time() + SECONDS
    while loop.time() < end:
        most = max(most, server.memory())
        await asyncio.sleep(0.02)
    return most


async def measure() -> None:
    """Print the figures."""
    key, visitor = secrets.token_hex(16), Principal("v" + secrets.token_hex(16), "visitor")
    with tempfile.TemporaryDirectory() as folder:
        await fill(Path(folder), visitor.id)
        settings = {"CMW_DATA_DIR": folder, "CMW_SECRET_KEY": key}
        nowhere = f"http://127.0.0.1:{free_port()}"  # no model is asked
        async with contender("app", nowhere, 1, more=settings) as server:
            before = server.memory()
            watching = asyncio.create_task(most_memory(server))
            cookie = Identities((key,)).sign(visitor, "cookie")
            found = await asyncio.gather(*(begun(server, cookie) for _ in range(EXPORTS)))
            most = await watching
            for connection, _ in found:
                connection.close()
    statuses = Counter(status for _, status in found)
    size = 2 * TURNS * len(MESSAGE)
    print(f"{EXPORTS} unread exports of a conversation of {size / MB:.0f} MB, by one visitor")
    print(f"served: {statuses[200]}, refused with 429: {statuses[429]}")
    print(f"resident: {before / MB:.0f} MB before, {most / MB:.0f} MB at most")


if __name__ == "__main__":
    os.sched_setaffinity(0, {CLIENT_CORE})
    uvloop.run(measure())
