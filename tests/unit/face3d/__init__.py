"""Unit tests of face3d."""
