"""Connections, transactions, group commit and backups of SQLite and PostgreSQL.

Imported by all of `memory`.
"""
