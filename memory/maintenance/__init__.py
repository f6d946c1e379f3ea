"""Retention, recovery and integrity checks over all owners.

Imported by periodic jobs and the command line.
"""
