"""The pages of operators say what the code does: names, metrics, log lines, settings and times."""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from cli.diagnosis import COMMAND_SECONDS
from compose.local.rabbitmq import CONFIG
from db import erasures, symptoms, upkeep
from face3d.outages import REPEAT_SECONDS
from face3d.settings import PLACEHOLDER, ROOT, TOKEN_LENGTH, TOKEN_LETTERS, Settings
from face3d.states import STAGES, PriorityClass
from tasks import artifacts, heartbeat, leftovers, retention

PAGES = ("how-to/operations.md", "reference/monitoring.md")
PAGE = "\n".join((ROOT / "docs" / page).read_text() for page in PAGES)
SETTINGS = Settings()

#: An event's name in a log.
EVENT = re.compile(r"[a-z_]+(\.[a-z_]+)+")
#: Callers of ours that hand the name of an event on.
HANDED_ON = frozenset({"_report", "_each", "report"})


def section(title: str) -> str:
    """Return a section of the pages."""
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match, title
    return match[1]


def words(text: str) -> set[str]:
    """Return what stands in code type in the first cells of a section's tables."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def modules() -> Iterator[ast.Module]:
    for room in ("face3d", "storage", "db", "tasks", "gpu_workers", "web"):
        for path in (ROOT / room).rglob("*.py"):
            if "anny_training" not in path.parts and "cli" not in path.parts:
                yield ast.parse(path.read_text())


def events() -> Iterator[str]:
    """Yield the names of all events that the code logs."""
    for module in modules():
        for call in (node for node in ast.walk(module) if isinstance(node, ast.Call)):
            constants = [
                node.value
                for argument in call.args[:2] + [k.value for k in call.keywords if k.arg == "event"]
                for node in (
                    [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
                )
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
            function = call.func
            if isinstance(function, ast.Name) and function.id == "Outage":
                for name in constants:
                    yield from (f"{name}.{end}" for end in ("failed", "still_fails", "recovered"))
            elif (
                isinstance(function, ast.Attribute)
                and isinstance(function.value, ast.Name)
                and function.value.id == "log"
            ) or (isinstance(function, ast.Name) and function.id in HANDED_ON):
                yield from (name for name in constants if EVENT.fullmatch(name))


def test_every_event_of_the_code_stands_in_the_page_and_none_else() -> None:
    assert words(section("Log lines")) == set(events())


def test_every_metric_of_the_code_stands_in_the_page_and_none_else() -> None:
    source = (ROOT / "web" / "metrics.py").read_text()
    assert words(section("Metrics")) == set(re.findall(r'"(face3d_[a-z_]+)"', source))


def test_every_module_and_setting_of_the_page_exists() -> None:
    for name in re.findall(r"`python -m ([\w.]+)", PAGE):
        assert find_spec(name), name
    known = {f"FACE3D_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"FACE3D_[A-Z_]+", PAGE)) - {"FACE3D_ENV_FILE"} <= known


@pytest.mark.parametrize(
    ("promise", "holds"),
    [
        ("its lease runs out after 30 s", SETTINGS.lease_seconds == 30),
        ("not started after 15 s", SETTINGS.lost_dispatch_seconds == 15),
        ("the sweep lists the inbox every minute", SETTINGS.sweep_seconds == 60),
        ("after three deaths the job fails", SETTINGS.poison_limit == 3),
        ("three times with growing waits", SETTINGS.max_attempts == 3),
        ("`FACE3D_DRAIN_SECONDS` (30)", SETTINGS.drain_seconds == 30),
        ("three seconds before the end", heartbeat._HAND_BACK_SECONDS == 3),
        (
            "5 s, 30 s, 2 min, 10 min, 1 h, 4 h, 12 h",
            SETTINGS.webhook_retry_seconds == (5, 30, 120, 600, 3600, 14400, 43200),
        ),
        ("within 5 seconds, whatever hangs", COMMAND_SECONDS < 5),
        ("a count\neach minute", REPEAT_SECONDS == 60),
        ("a relay makes a round at least each second", SETTINGS.relay_poll_seconds <= 1),
        ("a token of fewer than 24 characters", TOKEN_LENGTH == 24),
        ("or of fewer than 6 different ones", TOKEN_LETTERS == 6),
        ("Hosts forget their cached artifacts within six minutes", artifacts._CACHE_SECONDS * 1.1 <= 360),
        ("(`change-me`)", PLACEHOLDER == "change-me"),
        ("a quarter of an hour after a job's end", retention._SETTLED_SECONDS == 900),
        ("`FACE3D_RETENTION_DAYS` (30)", SETTINGS.retention_days == 30),
        ("it is erased a day later", upkeep._TOLD_SECONDS == 86400),
        ("in all three buckets | after a day", leftovers.UPLOAD_SECONDS == 86400),
        ("for a day a SHA-256", erasures.REMEMBERED_SECONDS == 86400),
        (
            "1 min, 2 min, ... at most an hour",
            (upkeep._FIRST_WAIT_SECONDS, upkeep._LONGEST_WAIT_SECONDS) == (60, 3600),
        ),
        ("ended by the relay\nwithin minutes", upkeep._ABANDONED_SECONDS + 600 <= 15 * 60),
    ],
)
def test_the_page_s_numbers_are_the_code_s(promise: str, holds: bool) -> None:
    assert promise in PAGE
    assert holds


def test_rabbitmq_waits_for_a_message_longer_than_all_that_may_run_before_it() -> None:
    compose = (ROOT / "compose" / "docker-compose.yml").read_text()
    longest = SETTINGS.stage_limit_seconds * len(STAGES) * len(PriorityClass) * 1000
    for text in (CONFIG, compose):
        told = re.search(r"consumer_timeout = (\d+)", text)
        assert told
        assert int(told[1]) > longest
    assert "times eight" in PAGE
    assert len(STAGES) * len(PriorityClass) == 8


def test_flower_forgets_dead_workers_wherever_we_start_it() -> None:
    for path in ("compose/docker-compose.yml", "compose/local/programs.py", "docs/how-to/operations.md"):
        assert "--purge_offline_workers=60" in (ROOT / path).read_text(), path


def test_no_setting_of_seaweedfs_s_events_does_nothing() -> None:
    """It sends an event once, whatever these say (4.48)."""
    for path in ("compose/docker-compose.yml", "compose/local/seaweedfs.py"):
        text = Path(ROOT / path).read_text()
        assert not re.search("max_retries|backoff_seconds", text), path


def test_thresholds_of_the_doctor_are_above_what_is_normal() -> None:
    assert 10 * SETTINGS.relay_poll_seconds < symptoms.RELAY_SECONDS
    assert SETTINGS.lost_dispatch_seconds < symptoms.LATE_SECONDS
    assert symptoms.OVERDUE_WARN_SECONDS > 600
