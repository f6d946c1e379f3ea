"""The guard in front of the app: principals, cookies, allowed routes."""
