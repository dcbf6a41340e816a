"""Unit tests of head, landmarks."""
