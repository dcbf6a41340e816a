"""What every package shares: settings, errors, contracts."""

__version__ = "0.1.0"
