"""The preview picture: scene, lights, rasteriser."""
