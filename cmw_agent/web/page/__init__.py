"""The Gradio page: components, handlers, rendering. Imported by `server` alone."""
