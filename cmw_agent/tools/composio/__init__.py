"""Tools of a user's own accounts, through Composio."""
