"""Servers that speak the real wire protocols of what the application calls, each on 127.0.0.1.

Tests run one inside their event loop; benchmarks run one as a process of its own.
"""
