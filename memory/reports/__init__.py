"""Statistics over all owners, without texts or ids."""
