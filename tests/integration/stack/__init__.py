"""Integration tests of stack."""
