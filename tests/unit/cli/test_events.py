"""`face3d events`: the topics that wait, and saying yes to one."""

import json
from io import StringIO

import httpx
import pytest
import typer
from rich.console import Console

from cli import events
from cli.api import Api
from face3d.settings import Settings


def topic(name: str, confirmed_at: str | None = None) -> dict[str, str | None]:
    return {"topic": name, "received_at": "2026-01-02T03:04:05Z", "confirmed_at": confirmed_at}


class Server:
    """Answers as the API does, and remembers which topics were confirmed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *topics: dict[str, str | None]) -> None:
        self.topics, self.confirmed = list(topics), list[str]()
        self.printed = StringIO()
        console = Console(file=self.printed, width=200, highlight=False)
        monkeypatch.setattr(events, "output", console)
        monkeypatch.setattr(events, "errors", console)
        monkeypatch.setattr(
            events, "open_api", lambda: Api(Settings(), transport=httpx.MockTransport(self.answer))
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path == "/v1/event-subscriptions":
            return httpx.Response(200, json=self.topics)
        assert (request.method, request.url.path) == ("POST", "/v1/event-subscriptions/confirm")
        self.confirmed.append(json.loads(request.content)["topic"])
        return httpx.Response(200, json=topic(self.confirmed[-1], "now"))


def test_topics_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, topic("arn:b"), topic("arn:a", "2026-01-02"))
    events.list_subscriptions()
    assert server.printed.getvalue() == "arn:b  waits\narn:a  confirmed 2026-01-02\n"
    none = Server(monkeypatch)
    events.list_subscriptions()
    assert "no topic has asked" in none.printed.getvalue()


def test_the_only_topic_that_waits_need_not_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, topic("arn:a", "2026-01-02"), topic("arn:b"))
    events.confirm(None)
    events.confirm("arn:c")
    assert server.confirmed == ["arn:b", "arn:c"]
    assert server.printed.getvalue() == "arn:b  confirmed now\narn:c  confirmed now\n"


@pytest.mark.parametrize(
    ("topics", "said"),
    [([], "no topic waits"), ([topic("a", "now")], "no topic waits"), ([topic("a"), topic("b")], "a, b")],
)
def test_where_none_or_several_wait_one_is_to_be_named(
    monkeypatch: pytest.MonkeyPatch, topics: list[dict[str, str | None]], said: str
) -> None:
    server = Server(monkeypatch, *topics)
    with pytest.raises(typer.BadParameter, match=said):
        events.confirm(None)
    assert not server.confirmed
