"""The `face3d` command: the only place that may import every room."""

from cli.main import app, main

__all__ = ["app", "main"]
