"""`face3d doctor`: its remedies can be followed."""

import re
from importlib.util import find_spec

import pytest

from face3d.cli import diagnosis
from face3d.settings import Settings


def test_an_old_schema_s_remedy_is_a_module_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_settings: Settings) -> str:
        raise RuntimeError("not so")

    for name in ("_schema_state", "_broker_answers", "_web_answers", "_live_workers"):
        monkeypatch.setattr(diagnosis, name, fail)
    monkeypatch.setattr(diagnosis, "_examine_buckets", lambda _settings: ())
    monkeypatch.setattr(diagnosis, "_database_version", lambda _settings: "version 18")
    findings = {finding.subject: finding for finding in diagnosis.examine_servers(Settings())}
    assert not findings["schema"].ok
    match = re.search(r"`python -m ([\w.]+)`", findings["schema"].remedy)
    assert match
    assert find_spec(match[1])
