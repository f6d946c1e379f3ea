"""One file for each revision, oldest first by number. A released one is never changed."""
