"""Unit tests of capacity."""
