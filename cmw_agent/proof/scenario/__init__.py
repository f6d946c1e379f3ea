"""Scenarios: scripted users against an agent of one's own, in process, with a table of what came."""
