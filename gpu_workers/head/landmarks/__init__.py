"""Faces and landmarks found in a photo, and checks of the photo."""
