"""Identity: principals, the signed tokens that prove them, the secret key. Imported by every package above `config`."""
