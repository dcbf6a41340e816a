"""What every room shares: settings, errors, contracts and the `face3d` command."""

__version__ = "0.1.0"
