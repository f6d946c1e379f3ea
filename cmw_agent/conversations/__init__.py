"""Live sessions, and what owners do with stored conversations."""
