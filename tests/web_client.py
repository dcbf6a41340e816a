"""Starlette's test client, which wants httpx2 and still works with the httpx that the project uses."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

__all__ = ["TestClient"]
