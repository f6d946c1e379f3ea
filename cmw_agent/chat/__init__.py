"""A turn from the message to the stored answer, for every channel."""
