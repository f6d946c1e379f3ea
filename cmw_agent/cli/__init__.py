"""The command line: serve, statistics, clean-up, backups."""
