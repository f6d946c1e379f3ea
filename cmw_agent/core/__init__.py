"""Errors, events, text checks and random ids that every package may import; imports nothing of the project but `memory`."""
