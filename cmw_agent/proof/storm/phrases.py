"""What a storm's people say; each message of one user has equals of the others."""

GREETING = "Hello! Please remember what I tell you."
RECALL = "Please repeat every code that I have told you so far."


def statement(turn: int, canary: str) -> str:
    """Return a message with a canary."""
    return f"My code number {turn} is {canary}. Please repeat it."
