"""How many cards: answers that can be worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from capacity.arrivals import DAY_SECONDS, Pattern, make_arrivals
from capacity.check import compare, load_run
from capacity.plan import CardPlan, Question, find_least, make_plan
from capacity.platform import platform_needs
from capacity.service_times import Card, Catalogue, ServiceTime, load_catalogue
from cli.main import app
from cli.plan import read_seconds
from face3d.errors import ConfigurationError
from face3d.settings import ROOT

pytestmark = pytest.mark.heavy

PACKAGING = ServiceTime(name="packaging", place="host", median=1.0)


def catalogue(**changes: object) -> Catalogue:
    """One card that takes a tenth of a second, always."""
    card = Card(
        name="x1",
        kind="measured",
        where="a test",
        steps=[ServiceTime(name="map", place="card", median=0.1)],
        at_once=4,
    )
    return Catalogue(cards={"x1": replace(card, **changes)}, packaging=PACKAGING, packaging_where="a test")


def ask(question: Question, known: Catalogue | None = None) -> CardPlan:
    (plan,) = make_plan(question, known or catalogue(), ["x1"])
    return plan


BURST = Question(photos_per_day=1000, burst=100, max_latency=0.25)


def test_a_burst_within_the_bound_needs_a_card_for_every_two_photos() -> None:
    """Within 0.25 s a card finishes two of 0.1 s; 99 of 100 photos must keep it."""
    single, burst = ask(BURST).answers
    assert (single.goal, single.cards) == ("single photos", 1)
    assert single.burst_seconds == pytest.approx(10.0)
    assert burst.cards == 50
    assert burst.burst_seconds == pytest.approx(0.2)


def test_a_burst_done_in_time() -> None:
    answers = ask(replace(BURST, burst_within=2.6)).answers
    assert [(one.goal, one.cards) for one in answers][1] == ("burst done in time", 4)


def test_a_bound_below_the_service_time_is_said_to_be_out_of_reach() -> None:
    plan = ask(replace(BURST, max_latency=0.09))
    assert [one.met for one in plan.answers] == [False]
    assert "cannot meet 90 ms with any number of cards" in plan.notes[0]
    assert "100 ms" in plan.notes[0]


def test_utilisation_is_load_over_capacity() -> None:
    question = Question(photos_per_day=432_000, max_latency=1.0, pattern=Pattern.STEADY)
    (answer,) = ask(question).answers
    assert answer.cards == 1
    assert answer.busy == pytest.approx(432_000 * 0.1 / DAY_SECONDS, rel=0.05)


def test_office_hours_are_three_times_as_busy() -> None:
    day = Question(photos_per_day=200_000, max_latency=1.0, pattern=Pattern.STEADY)
    (spread,) = ask(day).answers
    (office,) = ask(replace(day, pattern=Pattern.OFFICE)).answers
    assert office.busy * office.cards == pytest.approx(3 * spread.busy * spread.cards, rel=0.1)


def test_slots_beyond_memory_are_not_taken() -> None:
    plan = ask(replace(BURST, slots=2), catalogue(at_once=1))
    assert plan.slots == 1
    assert any("memory" in note for note in plan.notes)


def test_cards_that_hinder_each_other_in_a_host() -> None:
    """At half speed beside another, 100 photos on two cards take as long as on one."""
    question = replace(BURST, burst_within=9.0, cards_per_host=2)
    hindered = ask(question, catalogue(efficiency={2: 0.5})).answers[1]
    apart = ask(replace(question, cards_per_host=1), catalogue(efficiency={2: 0.5})).answers[1]
    assert hindered.cards > apart.cards == 2


def test_a_burst_cannot_be_done_faster_than_one_photo() -> None:
    question = replace(BURST, burst_within=0.01, max_latency=0.3)
    plan = ask(question)
    assert [(one.goal, one.met) for one in plan.answers][1] == ("burst done in time", False)
    assert any("not met with 4096 cards" in note for note in plan.notes)


def test_batches_gain_only_what_was_measured() -> None:
    question = replace(BURST, burst_within=3.0, batch=4)
    assert any("not measured" in note for note in ask(question).notes)
    gained = ask(question, catalogue(batch_share=0.0)).answers[1]
    assert (gained.cards, gained.burst_seconds) == (1, pytest.approx(2.6))


def test_the_asset_needs_cpu_machines_too() -> None:
    plan = ask(replace(BURST, burst=0, max_latency=3.0, asset=True))
    (answer,) = plan.answers
    assert answer.cpu_hosts >= 1
    assert answer.median > 0.1 + 1.0
    assert any("packaging" in note for note in plan.notes)


def test_the_seed_decides() -> None:
    known = load_catalogue()
    question = Question(photos_per_day=50_000, burst=10, max_latency=0.3)
    first, again = (make_plan(question, known, ["a100"]) for _ in range(2))
    other = make_plan(replace(question, seed=2), known, ["a100"])
    assert first == again
    assert first != other


def test_bursts_beyond_the_day_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="4 bursts of 100"):
        Question(photos_per_day=300, burst=100, max_latency=0.2)


@pytest.mark.parametrize("pattern", list(Pattern))
def test_arrivals_hold_the_photos_that_were_asked(pattern: Pattern) -> None:
    arrivals = make_arrivals(
        np.random.default_rng(3), photos_per_day=1000, burst=50, bursts_per_day=4, pattern=pattern
    )
    assert len(arrivals.moments) == pytest.approx(10 * 1000, rel=0.05)
    assert len(arrivals.bursts) == (0 if pattern is Pattern.STEADY else 40)
    assert (np.diff(arrivals.moments) >= 0).all()


@pytest.mark.parametrize("least", [1, 2, 5, 31, 64])
@pytest.mark.parametrize("too_few", [0, 1, 30])
def test_find_least(least: int, too_few: int) -> None:
    assert find_least(lambda n: n >= max(least, too_few + 1), 64, too_few) == max(least, too_few + 1)


def test_find_least_gives_up() -> None:
    assert find_least(lambda _: False, 64) is None


def test_the_simulation_comes_close_to_the_real_run() -> None:
    rows = {row.name: row for row in compare(load_run())}
    assert abs(rows["200 at once"].difference) < 0.15
    assert abs(rows["200 at once, median"].difference) < 0.15
    assert abs(rows["200 at once, P95"].difference) < 0.15
    assert rows["the same, slots the only limit"].difference > 0.5


def test_what_a_million_photos_an_hour_need() -> None:
    known = load_catalogue()
    needs = {need.name: need for need in platform_needs(known, [known.card("a100")], 1e6 / 3600)}
    # 277.8 a second x 112 ms, at the claimed throughput and efficiency of four cards: 32.9.
    assert needs["a100 (claimed), 4 in a host"].at_rate == "33"
    assert needs["broker: task messages"].at_rate == "1,389 a second"


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("1.5s", 1.5), ("2", 2.0), (" 30 MS", 0.03)])
def test_durations(text: str, seconds: float) -> None:
    assert read_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "fast", "0ms", "-5s", "3h"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no duration"):
        read_seconds(text)


def test_the_command_says_what_is_claimed() -> None:
    command = ["plan", "--photos-per-day", "500", "--burst", "10", "--gpu", "a100,t4"]
    text = CliRunner().invoke(app, command).output
    assert "CLAIMED" in text
    assert "t4: cannot meet 200 ms with any number of cards" in text
    document = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert [plan["kind"] for plan in document["plans"]] == ["claimed", "claimed"]


@pytest.mark.parametrize(
    "command", ["face3d plan --check", "face3d plan --photos-per-day 2000 --burst 100 --bur"]
)
def test_the_page_shows_what_the_command_prints(command: str) -> None:
    lines = (ROOT / "docs" / "how-to" / "planning.md").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"    {command}"))
    assert lines[at + 2] == "```text"
    shown = lines[at + 3 : lines.index("```", at)]
    printed = CliRunner().invoke(app, lines[at].split()[1:]).output.splitlines()
    assert shown == [line.rstrip() for line in printed]
