"""The web front: the Gradio page, its transport and HTTP API, sign-in, and the guard before all routes."""
