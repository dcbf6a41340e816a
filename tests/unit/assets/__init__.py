"""Unit tests of assets."""
