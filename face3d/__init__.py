"""What every package shares: settings, errors, contracts."""

__version__ = "0.2.0"
