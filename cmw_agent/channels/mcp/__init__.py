"""The agents as tools of an MCP server, by the keys of the REST interface; `cmw_agent.channels.app` opens it."""
