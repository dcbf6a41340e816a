"""Operators on arrays, images and meshes; what they know of heads is a photo with its masks."""
