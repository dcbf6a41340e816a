"""CUDA graphs and copies between host and card."""
