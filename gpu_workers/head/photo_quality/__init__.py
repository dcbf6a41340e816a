"""What a photo shows of a face, and the reasons that speak against it."""
