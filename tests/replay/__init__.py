"""Recordings of turns and their replays."""
