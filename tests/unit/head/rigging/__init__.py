"""Unit tests of head, rigging."""
