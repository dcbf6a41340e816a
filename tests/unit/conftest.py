"""Unit tests speak to nobody: a socket is an error."""

from hypothesis import HealthCheck, settings
from pytest_socket import disable_socket

# How long an example takes is the machine's business: beside others it may take any time.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")


def pytest_runtest_setup() -> None:
    """Take sockets away; local ones stay, event loops need a pair."""
    disable_socket(allow_unix_socket=True)
