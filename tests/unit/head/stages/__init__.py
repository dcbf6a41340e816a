"""Unit tests of head, stages."""
