"""Uploaded files: checks, storage, text extraction."""
