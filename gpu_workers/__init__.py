"""What runs where the GPU is: GPU types, launching, engines."""
