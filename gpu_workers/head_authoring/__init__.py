"""Builds the head's data once, at set-up; nothing imports it at run time."""
