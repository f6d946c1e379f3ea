"""Bridges to WhatsApp: what each kind sends and expects. Imported by `cmw_agent.channels.whatsapp`."""
