"""Integration tests of erasure."""
