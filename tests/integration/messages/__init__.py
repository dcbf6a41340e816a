"""Integration tests of messages."""
