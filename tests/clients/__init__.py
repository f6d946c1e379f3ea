"""Programs of others at `/v1`, unmodified, whose requirements do not agree with the app's."""
