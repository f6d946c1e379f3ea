"""Recordings of turns, "cassettes": what a model was sent, what it answered, what tools gave."""
