"""Faces and landmarks found in a photo."""
