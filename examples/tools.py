"""Tools of the built-in loop: notes of each user, read without and written with approval."""

from collections import defaultdict

from cmw_agent import Agent, Owner, create_app, tool

NOTES: dict[str, list[str]] = defaultdict(list)  # by owner; a real app has a database


@tool(changes=False)
async def read_notes(owner: Owner) -> str:
    """Read the user's notes."""
    return "\n".join(NOTES[owner]) or "There are no notes."


@tool(changes=True)
async def write_note(owner: Owner, text: str) -> str:
    """Add a note to the user's notes.

    Args:
        owner: The user, whom the app fills in.
        text: The note.
    """
    NOTES[owner].append(text)
    return f"Noted: {text}"


app = create_app(
    agents=[
        Agent(
            id="notes",
            name="Notes",
            prompt="You keep the user's notes with your tools.",
            tools=[read_notes, write_note],
            welcome="What shall I note?",
            examples=["Note that the bottles are empty", "What are my notes?"],
        )
    ]
)
