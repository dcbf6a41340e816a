"""Unit tests of head, runtime."""
