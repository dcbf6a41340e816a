"""Unit tests of head, ops."""
