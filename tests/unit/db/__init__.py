"""Unit tests of db."""
