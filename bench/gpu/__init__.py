"""Benchmarks of engines in this process and over HTTP."""
