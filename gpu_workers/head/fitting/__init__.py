"""The fit of the head's coefficients to landmarks and keypoint matches."""
