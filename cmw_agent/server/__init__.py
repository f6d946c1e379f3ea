"""The whole application: puts page, routes, channels and guard together and serves them."""
