"""Benchmarks: the app beside a naive Gradio chat and a raw proxy, on one core each."""
