"""The guard in front of everything: principals, cookies, allowed routes. Imported by `web` and `server`."""
