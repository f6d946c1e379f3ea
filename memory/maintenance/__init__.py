"""Retention, recovery and integrity checks over all owners."""
