"""Connections, transactions, group commit and backups of SQLite and PostgreSQL."""
