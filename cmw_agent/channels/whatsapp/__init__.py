"""WhatsApp, through a bridge or Meta's Cloud API. Imported by `channels.app` alone."""
