"""Tools of a user's own accounts, through Composio. Imported by `chat` and the layers above it."""
