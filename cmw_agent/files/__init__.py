"""Uploaded files: checks, storage, text extraction. Imported by `chat` and the layers above it."""
