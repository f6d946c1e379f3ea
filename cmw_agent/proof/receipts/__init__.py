"""Verifies the receipts of what models saw, which users have saved."""
