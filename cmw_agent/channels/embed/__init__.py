"""The chat on other websites: widget, frame page, allowed origins. Imported by `channels.app` and `server`."""
