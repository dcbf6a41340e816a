"""What all tests share: the order in which they run."""

from pathlib import Path

import pytest

#: Unit tests take the process's sockets away, so they end before a stack's supervisor runs in it.
ORDER = ("unit", "corpus", "integration", "acceptance", "hrn", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the folder under tests; the order within one stays."""
    root = Path(__file__).parent
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(root).parts[0]))
