"""Ports of the local stack: free, apart, remembered."""

from pathlib import Path

import pytest

from compose.local import ports
from compose.local.ports import GRPC_OFFSET, PORT_NAMES, choose_ports
from face3d.errors import ConfigurationError


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that somebody else listens on; empty at first."""
    busy: set[int] = set()
    monkeypatch.setattr(ports, "is_free", lambda port: port not in busy)
    return busy


def test_no_two_servers_share_a_port_nor_a_grpc_twin(tmp_path: Path, taken: set[int]) -> None:
    chosen = choose_ports(tmp_path)
    used = list(chosen.values()) + [chosen[name] + GRPC_OFFSET for name, twin in PORT_NAMES.items() if twin]
    assert set(chosen) == set(PORT_NAMES)
    assert len(set(used)) == len(used)
    # Above lie the kernel's ephemeral ports, which any client may hold.
    assert max(used) < 32768


def test_the_page_prefers_8080_and_takes_the_next_free_one(tmp_path: Path, taken: set[int]) -> None:
    (tmp_path / "a").mkdir()
    assert choose_ports(tmp_path / "a")["web"] == 8080
    taken.update({8080, 8081})
    (tmp_path / "b").mkdir()
    assert choose_ports(tmp_path / "b")["web"] == 8082


def test_ports_are_remembered_while_they_are_free(tmp_path: Path, taken: set[int]) -> None:
    first = choose_ports(tmp_path)
    assert choose_ports(tmp_path) == first
    taken.add(first["postgres"])
    second = choose_ports(tmp_path)
    assert second["postgres"] not in {first["postgres"], *(second[n] for n in second if n != "postgres")}
    assert {n: p for n, p in second.items() if n != "postgres"} == {
        n: p for n, p in first.items() if n != "postgres"
    }


def test_a_port_whose_grpc_twin_is_taken_is_passed_over(tmp_path: Path, taken: set[int]) -> None:
    first = choose_ports(tmp_path)
    taken.add(first["weed_filer"] + GRPC_OFFSET)
    assert choose_ports(tmp_path)["weed_filer"] != first["weed_filer"]


def test_folders_start_their_search_at_different_places(tmp_path: Path, taken: set[int]) -> None:
    starts = set()
    for name in "abcdef":
        (tmp_path / name).mkdir()
        starts.add(choose_ports(tmp_path / name)["postgres"])
    # The folder's name is random here, and two of six may meet by chance: once in some hundred runs.
    assert len(starts) >= 5


def test_no_free_port_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    with pytest.raises(ConfigurationError, match="No free port"):
        choose_ports(tmp_path)
