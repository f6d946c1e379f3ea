"""Readers of files: each kind's text, notes and pictures. They run in the worker process alone."""
