"""Proof for others: leak tests, scenarios, recordings and receipts; the command line imports it."""
