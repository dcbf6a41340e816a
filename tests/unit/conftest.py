"""Unit tests speak to nobody: a socket is an error."""

from pytest_socket import disable_socket


def pytest_runtest_setup() -> None:
    """Take sockets away; local ones stay, event loops need a pair."""
    disable_socket(allow_unix_socket=True)
