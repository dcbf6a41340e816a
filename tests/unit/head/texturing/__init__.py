"""Unit tests of head, texturing."""
