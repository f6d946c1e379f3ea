"""Identity: principals, the signed tokens that prove them, the secret key."""
