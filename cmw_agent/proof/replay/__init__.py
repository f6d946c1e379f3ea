"""Replays recorded turns without a network, and shows what a changed one would have answered."""
