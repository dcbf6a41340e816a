"""Unit tests of gpu workers."""
