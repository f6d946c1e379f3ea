"""What real OpenAI-compatible servers answer, played byte for byte to the whole app."""
