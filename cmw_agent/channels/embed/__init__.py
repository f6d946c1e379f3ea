"""The chat on other websites: widget, frame page, allowed origins."""
