"""The two consoles of the command line."""

from rich.console import Console

#: What a command is asked for.
output = Console(highlight=False)
#: What went wrong, and progress that a pipe must not carry.
errors = Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """Print an error as one block on standard error."""
    errors.print("[bold red]error[/]", end=" ")
    errors.print(message, markup=False, soft_wrap=True)


def as_written(value: object) -> str:
    """Return a measured value as a person writes it: 1, not 1.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)
