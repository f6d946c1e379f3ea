"""Rate limits and budgets of users, network addresses and the process."""
