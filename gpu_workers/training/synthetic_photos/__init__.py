"""Synthetic photos with known landmarks, made while training runs."""
