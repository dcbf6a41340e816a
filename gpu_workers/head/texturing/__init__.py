"""From a photo and a fitted head to the maps of the asset."""
