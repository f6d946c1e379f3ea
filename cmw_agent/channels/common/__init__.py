"""What the channels share: callers, keys, body limits, error responses, streams."""
