"""Where service times come from, and that nothing is made up."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capacity.service_times import DATA, ServiceTime, load_catalogue
from face3d.errors import ConfigurationError


def write(folder: Path, name: str, kind: str, cards: dict[str, Any], **more: Any) -> None:
    document = {"kind": kind, "where": f"somebody, {name}", "cards": cards, **more}
    (folder / f"cards_{name}.json").write_text(json.dumps(document))


def entry(median: float, **more: Any) -> dict[str, Any]:
    return {"steps": [{"name": "map", "on": "card", "median_ms": median}], **more}


PACKAGING = {"name": "packaging", "on": "host", "median_ms": 1000}


def test_log_normal_meets_median_and_p95() -> None:
    seconds = ServiceTime(name="map", place="card", median=0.178, p95=0.217).draw(
        np.random.default_rng(1), 50_000
    )
    assert np.median(seconds) == pytest.approx(0.178, rel=0.01)
    assert np.quantile(seconds, 0.95) == pytest.approx(0.217, rel=0.01)


def test_a_median_by_itself_is_constant() -> None:
    seconds = ServiceTime(name="map", place="card", median=0.1).draw(np.random.default_rng(1), 5)
    assert seconds.tolist() == [0.1] * 5


def test_samples_are_drawn_again() -> None:
    step = ServiceTime(name="map", place="card", median=0.2, samples=[0.1, 0.2, 0.4])
    assert set(step.draw(np.random.default_rng(1), 200).tolist()) == {0.1, 0.2, 0.4}


def test_every_known_limit_is_in_the_figures() -> None:
    cards = load_catalogue().cards
    assert cards["t4"].at_once == 1
    assert cards["a100"].at_once == 3
    assert cards["a100"].host_capacity(4) == pytest.approx(4 * 0.95 * 8.9 * 0.112)
    # 1.79 of two, and ten percent of it kept free.
    assert cards["a800"].host_capacity(2) == pytest.approx(1.79 * 0.9 * 8.4 * 0.119)
    assert cards["v100"].host_capacity(2) == pytest.approx(1.15 * 5.6 * 0.178)
    assert cards["v100"].host_capacity(1) == pytest.approx(5.6 * 0.178)
    # A count without a figure takes the next larger one's, else the largest one's.
    assert cards["a100"].host_capacity(3) / 3 == pytest.approx(cards["a100"].host_capacity(4) / 4)
    assert cards["v100"].host_capacity(8) / 8 == pytest.approx(cards["v100"].host_capacity(2) / 2)


def test_all_figures_say_whether_they_were_measured() -> None:
    kinds = {card.name: card.kind for card in load_catalogue().cards.values()}
    assert kinds["cpu"] == "measured"
    assert {kinds[name] for name in ("a100", "a800", "v100", "t4")} == {"claimed"}
    for path in DATA.glob("cards_*.json"):
        document = json.loads(path.read_text())
        if document["kind"] == "measured":
            assert "commit" in document["where"], path.name
            assert "n = " in document["where"], path.name


def test_measured_figures_replace_claimed_ones(tmp_path: Path) -> None:
    write(tmp_path, "a", "measured", {"a100": entry(50, photos_per_second=30)}, packaging=PACKAGING)
    write(tmp_path, "b", "claimed", {"a100": entry(112), "t4": entry(342)})
    cards = load_catalogue(tmp_path).cards
    assert (cards["a100"].kind, cards["a100"].steps[0].median) == ("measured", 0.05)
    assert cards["a100"].capacity == pytest.approx(1.5)
    assert cards["t4"].kind == "claimed"


def test_two_measurements_of_one_card_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", "measured", {"a100": entry(50)}, packaging=PACKAGING)
    write(tmp_path, "b", "measured", {"a100": entry(60)})
    with pytest.raises(ConfigurationError, match="another file"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "guessed"},
        {"cards": {"a100": {"steps": []}}},
        {"cards": {"a100": {"steps": [{"name": "map", "on": "moon", "median_ms": 1}]}}},
        {"cards": {"a100": {"steps": [{"name": "map", "on": "card", "median_ms": 9, "p95_ms": 8}]}}},
        {"cards": {"a100": {"steps": [{"name": "map", "on": "card"}]}}},
    ],
)
def test_wrong_files_are_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    document = {"kind": "measured", "where": "here", "cards": {"a100": entry(1)}, "packaging": PACKAGING}
    (tmp_path / "cards_x.json").write_text(json.dumps(document | wrong))
    with pytest.raises(ConfigurationError, match=r"cards_x\.json"):
        load_catalogue(tmp_path)


def test_an_unknown_card_is_not_guessed_from_another() -> None:
    with pytest.raises(ConfigurationError, match="b200"):
        load_catalogue().card("b200")
