"""Integration tests of database."""
