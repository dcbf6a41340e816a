"""Unit tests of head, segmentation."""
