"""Imports conversations from export files: readers in a worker process, and the service that stores."""
