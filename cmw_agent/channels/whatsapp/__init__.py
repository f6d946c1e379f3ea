"""WhatsApp, through a bridge or Meta's Cloud API."""
