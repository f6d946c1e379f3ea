"""The Gradio page: components, handlers, rendering."""
