"""Tools of a user's own accounts, through Composio. Imported by `chat` and what stands above it."""
