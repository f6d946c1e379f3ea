"""Client of MCP servers: sessions of each user, and their tools in the tool loop; `cmw_agent.chat` uses it."""
