"""A real server for the tests: llama.cpp's, with tiny models of random weights."""
