"""Gradio's wire protocol without Gradio's queue. Imported by `web.page` and `server`."""
