"""Unit tests of head."""
