"""Engine hrn beside ModelScope's own pipeline."""
