"""What the channels share: callers, keys, body limits, error responses, streams. Imported by the channels and the guard."""
