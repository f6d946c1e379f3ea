"""A server made with the SDK, run as a process: `python -m tests.mcp.sdk_server http|sse|stdio`.

By HTTP it prints its address first.
"""

import asyncio
import socket
import sys
from typing import Annotated

import uvicorn
from mcp.server import MCPServer
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

server = MCPServer("house", log_level="WARNING")
READS = ToolAnnotations(read_only_hint=True)
BOOKED: list[str] = []


class Guest(BaseModel):
    """What the server asks its user."""

    name: str = Field(description="The guest's name")
    nights: int = 1
    breakfast: bool = False


@server.tool(annotations=READS)
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return f"sum {a + b}"


@server.tool()
def book(room: str) -> str:
    """Book a room."""
    BOOKED.append(room)
    return f"booked {room}, {len(BOOKED)} in all"


@server.tool(annotations=READS)
def fail(secret: str) -> str:
    """Fail."""
    raise ValueError(f"cannot {secret}")


@server.tool(annotations=READS)
async def wait(seconds: float, ctx: Context) -> str:
    """Wait."""
    await ctx.report_progress(0.5, 1.0, "half")
    await asyncio.sleep(seconds)
    return "waited"


def who() -> Elicit[Guest]:
    """Ask who arrives."""
    return Elicit("Who arrives?", Guest)


@server.tool(annotations=READS)
async def check_in(answer: Annotated[ElicitationResult[Guest], Resolve(who)]) -> str:
    """Ask the guest who they are."""
    if answer.action != "accept":
        return f"nobody: {answer.action}"
    return f"{answer.data.name} stays {answer.data.nights}, breakfast {answer.data.breakfast}"


@server.tool(annotations=READS)
async def learn(name: str, ctx: Context) -> str:
    """Get a further tool."""
    server.add_tool(lambda: f"I am {name}", name=name, description="Learned", annotations=READS)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return f"learned {name}"


@server.prompt()
def greet(guest: str) -> str:
    """Greet a guest."""
    return f"Please greet {guest} warmly."


@server.resource("house://rules")
def rules() -> str:
    """The rules of the house."""
    return "No shoes in the hall."


async def serve(transport: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()[:2]
    app = server.sse_app() if transport == "sse" else server.streamable_http_app()
    path = "sse" if transport == "sse" else "mcp"
    sys.stdout.write(f"http://{host}:{port}/{path}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        asyncio.run(serve(sys.argv[1]))
