"""Unit tests of compose."""
