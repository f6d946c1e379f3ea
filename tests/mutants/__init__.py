"""Mutation testing of isolation: each owner condition is removed once, and a test must fail.

`source` finds the conditions, `trials` runs the tests against a mutated copy of the code, and
``python -m tests.mutants`` does so for all of them. docs/security.md would judge one that survives.
"""
