"""Operators on arrays, images and meshes that know nothing of heads."""
