"""`face3d events`: which topic is confirmed when none is named."""

import pytest
import typer

from face3d.cli.events import describe, only_waiting


def topic(name: str, confirmed_at: str | None = None) -> dict[str, str | None]:
    return {"topic": name, "received_at": "2026-01-02T03:04:05Z", "confirmed_at": confirmed_at}


def test_the_only_topic_that_waits_need_not_be_named() -> None:
    assert only_waiting([topic("a", "2026-01-02T03:04:06Z"), topic("b")]) == "b"
    for topics in ([], [topic("a", "2026-01-02T03:04:06Z")]):
        with pytest.raises(typer.BadParameter, match="no topic waits"):
            only_waiting(topics)
    with pytest.raises(typer.BadParameter, match="a, b"):
        only_waiting([topic("a"), topic("b")])


def test_a_topic_is_one_line() -> None:
    assert describe(topic("arn", None)) == "arn  waits"
    assert describe(topic("arn", "now")) == "arn  confirmed now"
