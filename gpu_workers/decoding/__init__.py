"""Untrusted photos to pixels: a child process that is locked up and not believed."""
