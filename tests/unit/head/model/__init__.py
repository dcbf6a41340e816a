"""Unit tests of head, model."""
