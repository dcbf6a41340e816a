"""Unit tests of head, fitting."""
