"""A turn from the message to the stored answer, for every channel. Imported by `runtime` and what stands above it."""
