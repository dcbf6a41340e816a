"""The three stages of the parametric head, on which engines stand: photo, geometry, texture."""
