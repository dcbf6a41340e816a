"""Unit tests of head, photo quality."""
