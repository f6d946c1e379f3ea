"""The command line: serve, statistics, clean-up, backups. Nothing imports it but `__main__` and `app.py`."""
