"""Benchmarks that print tables; never tests."""
