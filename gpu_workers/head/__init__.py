"""The parametric head and all that is done with it, from landmarks to maps; engines stand on it."""
