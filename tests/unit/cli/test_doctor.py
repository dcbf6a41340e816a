"""`face3d doctor`: its remedies can be followed, and nothing that hangs keeps it waiting."""

import re
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from cli import diagnosis, server_checks
from cli.probing import Finding, Probe, run_probes
from db.relay_health import RelayFacts, TaskFacts
from db.symptoms import Facts, QueueFacts, ReceiverFacts, Symptom, judge
from db.upkeep import Overdue
from face3d.settings import Settings


class FakeSession:
    """A database that answers with its version."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "FakeSession":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def scalar(self, _statement: object) -> str:
        return "18"


def test_an_old_schema_s_remedy_is_a_module_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlalchemy.orm.Session", FakeSession)
    monkeypatch.setattr(server_checks, "schema_is_current", lambda _settings: False)
    findings = {finding.subject: finding for finding in server_checks.examine_database(Settings())}
    assert not findings["schema"].ok
    match = re.search(r"`python -m ([\w.]+)`", findings["schema"].remedy)
    assert match
    assert find_spec(match[1])


@pytest.mark.heavy
def test_a_server_that_could_not_be_asked_in_time_is_not_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine loading a library takes longer than the doctor has."""
    (tmp_path / "slow_to_load.py").write_text("import time\ntime.sleep(1)\n")
    monkeypatch.syspath_prepend(tmp_path)

    def answer() -> Iterator[Finding]:
        yield Finding(subject="server", ok=True, detail="answers")

    probe = Probe(subject="server", examine=answer, remedy="start it", modules=("slow_to_load",))
    (late,) = run_probes([probe], seconds=0.1)
    assert (late.ok, late.warning) == (True, True)
    assert "busy" in late.detail
    (found,) = probe.results(time.monotonic() + 5, 0.0)
    assert found.detail == "answers"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_what_the_doctor_loads_before_it_asks_is_there(url: str) -> None:
    for probe in server_checks.server_probes(Settings(broker_url=SecretStr(url))):
        assert all(find_spec(module) for module in probe.modules)


def test_what_hangs_is_told_and_keeps_nobody_waiting() -> None:
    forever = threading.Event()

    def hang() -> Iterator[Finding]:
        yield Finding(subject="first half", ok=True, detail="answers")
        forever.wait(30)

    def fail() -> Iterator[Finding]:
        raise RuntimeError("refused\nand more")

    def answer() -> Iterator[Finding]:
        yield Finding(subject="quick", ok=True, detail="answers")

    started = time.monotonic()
    found = list(
        run_probes(
            [
                Probe(subject="hangs", examine=hang, remedy="wake it"),
                Probe(subject="fails", examine=fail, remedy="mend it"),
                Probe(subject="quick", examine=answer, remedy=""),
                Probe(subject="busy", examine=hang, remedy="", late_is_wrong=False),
            ],
            seconds=0.3,
        )
    )
    assert time.monotonic() - started < 2
    forever.set()
    assert [(one.subject, one.ok, one.warning, one.detail) for one in found] == [
        ("first half", True, False, "answers"),
        ("hangs", False, False, "does not answer in time"),
        ("fails", False, False, "refused"),
        ("quick", True, False, "answers"),
        ("first half", True, False, "answers"),
        ("busy", True, True, "does not answer in time"),
    ]


def test_where_no_stage_runs_nothing_is_asked_about_what_stages_need(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(diagnosis, "is_chosen", lambda extra: extra != "worker")
    monkeypatch.setattr(diagnosis, "examine_libraries", asked.append)
    probes = {probe.subject: probe for probe in diagnosis.machine_probes(Settings())}
    assert set(probes) == {"machine", "libraries", "local stack"}
    probes["libraries"].examine()
    assert asked == [("psycopg",)]


def test_a_library_that_ends_the_process_is_a_finding() -> None:
    names = ("json", "no_such_module", "antigravity.nothing")
    found = {finding.subject: finding for finding in diagnosis.examine_libraries(names)}
    assert found["library json"].ok
    assert not found["library no_such_module"].ok
    assert "no_such_module" in found["library no_such_module"].detail


TASK = TaskFacts(
    name="sweep_inbox",
    every_seconds=60,
    started_age=5,
    success_age=5,
    success_time=1000,
    failures=0,
    failures_total=0,
    last_error=None,
)
WELL = Facts(
    relays=[
        RelayFacts(name="a:1", leads=True, round_age=1),
        RelayFacts(name="b:2", leads=False, round_age=1),
    ],
    tasks=[TASK],
    outbox_seconds=0,
    delivery_seconds=0,
    delivery_workers=[0.5],
    receivers=ReceiverFacts(),
    queues=[],
    overdue=Overdue(retention_seconds=0, failing_jobs=0),
    database_bytes=10 * 2**20,
)


def examine(**changes: object) -> dict[str, Symptom]:
    from dataclasses import replace

    return {one.subject: one for one in judge(replace(WELL, **changes), Settings())}  # type: ignore[arg-type]


def test_a_whole_that_is_well_has_no_symptom() -> None:
    found = examine()
    assert {one.level for one in found.values()} == {"ok"}
    assert found["relay"].detail == "a:1 leads, last round 1 s ago; 1 in reserve"


@pytest.mark.parametrize(
    ("changes", "subject", "level", "detail"),
    [
        ({"relays": []}, "relay", "fail", "none made a round"),
        (
            {"relays": [RelayFacts(name="a:1", leads=True, round_age=40)]},
            "relay",
            "fail",
            "a:1 made its last",
        ),
        ({"relays": [RelayFacts(name="a:1", leads=False, round_age=1)]}, "relay", "fail", "none leads"),
        ({"outbox_seconds": 31}, "outbox", "fail", "due for 31 s"),
        ({"delivery_seconds": 300}, "webhooks", "fail", "due for 5 min"),
        ({"delivery_workers": []}, "delivery worker", "fail", "none is alive"),
        ({"receivers": ReceiverFacts(hanging=1)}, "webhook receivers", "warn", "1 do not answer in time"),
        ({"receivers": ReceiverFacts(gone=2, given_up=40)}, "webhook receivers", "warn", "2 answered 410"),
        ({"delivery_workers": [11]}, "delivery worker", "fail", "11 s ago"),
        (
            {"queues": [QueueFacts(name="geometry.t4.batch", waiting=3, oldest_seconds=60, served=False)]},
            "queues",
            "fail",
            "geometry.t4.batch: 3 wait, the oldest for 60 s",
        ),
        (
            {"queues": [QueueFacts(name="geometry.t4.batch", waiting=3, oldest_seconds=900, served=True)]},
            "queues",
            "warn",
            "the oldest for 15 min",
        ),
        ({"overdue": Overdue(retention_seconds=0, failing_jobs=2)}, "retention", "warn", "2 jobs"),
        ({"overdue": Overdue(retention_seconds=90000, failing_jobs=0)}, "retention", "fail", "25 h overdue"),
    ],
)
def test_each_fault_has_its_line_and_its_remedy(
    changes: dict[str, object], subject: str, level: str, detail: str
) -> None:
    found = examine(**changes)
    assert found[subject].level == level
    assert detail in found[subject].detail
    assert found[subject].remedy
    assert {one.subject for one in found.values() if one.level != "ok"} == {subject}


@pytest.mark.parametrize(
    ("failures", "success_age", "level"),
    [(1, 30, "warn"), (2, 30, "fail"), (0, 600, "fail"), (1, None, "fail")],
)
def test_periodic_work_that_fails_or_does_not_end_is_told(
    failures: int, success_age: float | None, level: str
) -> None:
    from dataclasses import replace

    task = replace(TASK, failures=failures, success_age=success_age, started_age=600, last_error="Away")
    found = examine(tasks=[task])
    assert found["relay: sweep_inbox"].level == level
    assert ("Away" in found["relay: sweep_inbox"].detail) == (failures > 0)


@pytest.mark.parametrize(
    ("taken", "well"), [("a token of this installation", True), ("another one's", False)]
)
def test_a_server_that_takes_another_token_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, taken: str, well: bool
) -> None:
    """Another stack, or another program, may hold the port."""

    def get(url: str, *, headers: dict[str, str] | None = None, **_: object) -> httpx.Response:
        known = url.endswith("/readyz") or headers == {"Authorization": f"Bearer {taken}"}
        return httpx.Response(200 if known else 401)

    monkeypatch.setattr(httpx, "get", get)
    settings = Settings(api_token=SecretStr("a token of this installation"))
    (finding,) = server_checks.examine_web(settings)
    assert finding.ok is well
    assert "FACE3D_API_TOKEN" in finding.detail or well
