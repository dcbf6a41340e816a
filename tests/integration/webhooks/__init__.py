"""Integration tests of webhooks."""
