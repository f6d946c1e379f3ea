"""Tools of web services that describe themselves by OpenAPI; imported by `runtime` and `chat`."""
