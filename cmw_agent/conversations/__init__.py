"""Live sessions, and what owners do with stored conversations. Imported by `chat` and what stands above it."""
