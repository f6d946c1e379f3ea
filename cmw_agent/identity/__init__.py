"""Who asks: principals, signed tokens, the secret key. Imported by every package above `config`."""
