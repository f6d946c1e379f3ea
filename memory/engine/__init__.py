"""Connections and transactions of SQLite and PostgreSQL, and SQLite's group commit and backups."""
