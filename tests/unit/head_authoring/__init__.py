"""Unit tests of head authoring."""
