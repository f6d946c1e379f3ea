"""Uploaded files: checks, storage, text extraction. Imported by `chat` and what stands above it."""
