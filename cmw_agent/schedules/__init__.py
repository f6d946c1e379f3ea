"""Recurring tasks: when they run, and the tools that schedule them."""
