"""A chat for many users at once, in which nothing of one user reaches another."""

__version__ = "0.1.0"
