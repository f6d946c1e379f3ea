"""Gradio's wire protocol without Gradio's queue."""
