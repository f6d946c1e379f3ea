"""Sign-in by OpenID Connect. Imported by `server` alone."""
