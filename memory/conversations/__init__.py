"""Conversations, messages, turns, files and summaries of one owner."""
