"""The state machine of webhook messages: one send at a time, no try that was not due, places for everyone."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import delivery_list, job_erasure, webhooks
from db.deliveries import HANGING_PLACES, Claim, Outcome
from db.delivery_list import DeliveryFilter
from db.session import Patience
from db.symptoms import read_facts
from face3d.settings import Settings
from tests.integration.delivery_rows import (
    GUARD,
    HOLD,
    OK,
    REFUSED,
    TIMED_OUT,
    WAITS,
    add_endpoint,
    add_messages,
    begin,
    claim,
    finish,
    pass_time,
    state_of,
)

URL = "https://example.com/hook"


def test_the_schedule_is_kept_to_the_last_try(sessions: sessionmaker[Session]) -> None:
    add_endpoint(sessions, URL)
    add_messages(sessions, 1)
    for number, wait in enumerate(WAITS, start=1):
        (copy,) = claim(sessions)
        finish(sessions, begin(sessions, copy), REFUSED)
        state, tries, due_in = state_of(sessions, copy.delivery_id)
        assert (state, tries) == ("pending", number)
        assert due_in == pytest.approx(wait, abs=2)
        pass_time(sessions, wait - 3)
        assert claim(sessions) == [], "claimed before it was due"
        pass_time(sessions, 4)
    (copy,) = claim(sessions)
    finish(sessions, begin(sessions, copy), REFUSED)
    assert state_of(sessions, copy.delivery_id) == ("failed", len(WAITS) + 1, None)
    pass_time(sessions, 10 * 86400)
    assert claim(sessions) == []


def test_copies_that_nobody_took_cost_nothing(sessions: sessionmaker[Session]) -> None:
    """A frozen worker: nine minutes of claims that end, nine copies of one message in its queue."""
    add_endpoint(sessions, URL)
    add_messages(sessions, 1)
    copies = []
    for _ in range(9):
        copies += claim(sessions)
        assert claim(sessions) == [], "claimed twice at once"
        pass_time(sessions, GUARD + 1)
    copies += claim(sessions)
    assert [copy.number for copy in copies] == list(range(1, 11))
    *stale, newest = copies
    assert [begin(sessions, copy) for copy in stale] == [None] * 9
    assert state_of(sessions, newest.delivery_id)[:2] == ("pending", 0)
    outgoing = begin(sessions, newest)
    assert begin(sessions, newest) is None, "a doubled copy sent again"
    finish(sessions, outgoing, REFUSED)
    assert [begin(sessions, copy) for copy in copies] == [None] * 10
    assert state_of(sessions, newest.delivery_id)[:2] == ("pending", 1)


def test_a_copy_from_before_claims_had_numbers_sends_nothing(sessions: sessionmaker[Session]) -> None:
    add_endpoint(sessions, URL)
    add_messages(sessions, 1)
    (copy,) = claim(sessions)
    assert begin(sessions, Claim(delivery_id=copy.delivery_id, number=0)) is None
    assert begin(sessions, copy) is not None


def test_a_send_whose_worker_died_is_due_again_by_the_schedule_after_its_hold(
    sessions: sessionmaker[Session],
) -> None:
    add_endpoint(sessions, URL)
    add_messages(sessions, 1)
    (copy,) = claim(sessions)
    lost = begin(sessions, copy)
    pass_time(sessions, HOLD - 1)
    assert claim(sessions) == [], "a second send beside one that may still run"
    pass_time(sessions, 2)
    (again,) = claim(sessions)
    second = begin(sessions, again)
    assert second is not None
    assert (second.id, second.attempts, second.number) == (copy.delivery_id, 2, 2)
    # The first worker wakes up: its failure counts no more, its success would.
    finish(sessions, lost, TIMED_OUT)
    state, tries, due_in = state_of(sessions, copy.delivery_id)
    assert (state, tries) == ("pending", 2)
    assert due_in == pytest.approx(WAITS[1], abs=2)
    finish(sessions, lost, OK)
    assert state_of(sessions, copy.delivery_id)[0] == "delivered"


def test_a_message_whose_last_try_died_with_its_worker_is_failed(sessions: sessionmaker[Session]) -> None:
    add_endpoint(sessions, URL)
    add_messages(sessions, 1)
    with sessions.begin() as session:
        session.execute(text("UPDATE deliveries SET attempts = :n"), {"n": len(WAITS)})
    (copy,) = claim(sessions)
    assert begin(sessions, copy) is not None
    pass_time(sessions, HOLD + 1)
    (again,) = claim(sessions)
    assert begin(sessions, again) is None
    assert state_of(sessions, copy.delivery_id) == ("failed", len(WAITS) + 1, None)


def test_an_endpoint_has_two_messages_on_their_way_and_others_have_theirs(
    sessions: sessionmaker[Session],
) -> None:
    busy, other = add_endpoint(sessions, URL), add_endpoint(sessions, "https://example.org/hook")
    add_messages(sessions, 5)
    copies = claim(sessions)
    sent = [begin(sessions, copy) for copy in copies]
    of = [outgoing.endpoint_id for outgoing in sent if outgoing]
    assert (of.count(busy), of.count(other)) == (2, 2)
    assert claim(sessions) == []
    done = next(outgoing for outgoing in sent if outgoing and outgoing.endpoint_id == other)
    finish(sessions, done, OK)
    (following,) = claim(sessions)
    outgoing = begin(sessions, following)
    assert outgoing is not None
    assert outgoing.endpoint_id == other


def test_claims_and_sends_at_the_same_moment_are_never_doubled(sessions: sessionmaker[Session]) -> None:
    endpoints = [add_endpoint(sessions, f"https://e{number}.example.com/") for number in range(3)]
    add_messages(sessions, 10)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            copies = [copy for found in pool.map(lambda _: claim(sessions), range(16)) for copy in found]
            assert len({copy.delivery_id for copy in copies}) == len(copies)
            sent = [one for one in pool.map(lambda copy: begin(sessions, copy), copies * 3) if one]
            assert len(sent) == len(copies)
            of = [outgoing.endpoint_id for outgoing in sent]
            assert max((of.count(endpoint) for endpoint in endpoints), default=0) <= 2
            list(pool.map(lambda outgoing: finish(sessions, outgoing, OK), sent))
    assert claim(sessions) == []
    with sessions() as session:
        rows = session.execute(text("SELECT state, attempts, count(*) FROM deliveries GROUP BY 1, 2")).all()
    assert [tuple(row) for row in rows] == [("delivered", 1, 30)]


def test_many_endpoints_that_hang_share_few_places(sessions: sessionmaker[Session]) -> None:
    hanging = [add_endpoint(sessions, f"https://h{number}.example.com/") for number in range(12)]
    add_messages(sessions, 3)
    while copies := claim(sessions):
        for copy in copies:
            finish(sessions, begin(sessions, copy), TIMED_OUT)
    healthy = add_endpoint(sessions, URL)
    pass_time(sessions, 10)
    add_messages(sessions, 3, "later")
    sent = [begin(sessions, copy) for copy in claim(sessions)]
    of = [outgoing.endpoint_id for outgoing in sent if outgoing]
    assert of.count(healthy) == 2
    assert len(of) - 2 == HANGING_PLACES
    assert max(of.count(endpoint) for endpoint in hanging) == 1
    # One that answers in time, whatever it says, has all its places again.
    recovered = next(outgoing for outgoing in sent if outgoing and outgoing.endpoint_id != healthy)
    finish(sessions, recovered, REFUSED)
    assert (
        sum(
            outgoing is not None and outgoing.endpoint_id == recovered.endpoint_id
            for outgoing in [begin(sessions, copy) for copy in claim(sessions)]
        )
        == 2
    )


def test_an_endpoint_whose_row_is_held_by_a_frozen_process_stops_no_other(
    sessions: sessionmaker[Session],
) -> None:
    held = add_endpoint(sessions, URL)
    add_endpoint(sessions, "https://example.org/hook")
    add_messages(sessions, 1)
    with sessions.begin() as frozen:
        frozen.execute(text("SELECT 1 FROM webhook_endpoints WHERE id = :id FOR UPDATE"), {"id": held})
        started = time.monotonic()
        (copy,) = claim(sessions)
        assert time.monotonic() - started < Patience().lock / 2
    outgoing = begin(sessions, copy)
    assert outgoing is not None
    assert outgoing.endpoint_id != held
    assert len(claim(sessions)) == 1


def test_retry_after_postpones_the_message_and_leaves_the_endpoint_alone(
    sessions: sessionmaker[Session],
) -> None:
    endpoint = add_endpoint(sessions, URL)
    add_messages(sessions, 3)
    first, second = claim(sessions)
    busy = Outcome(status=429, error="HTTP 429", seconds=0.01, retry_after=300.0)
    finish(sessions, begin(sessions, first), busy)
    assert state_of(sessions, first.delivery_id)[2] == pytest.approx(300, abs=2)
    finish(sessions, begin(sessions, second), OK)
    pass_time(sessions, 290)
    assert claim(sessions) == [], "the receiver wanted to be left alone"
    pass_time(sessions, 11)
    assert len(claim(sessions)) == 2
    pass_time(sessions, GUARD + 1)
    (copy, _) = claim(sessions)
    # Neither for ever, nor sooner than the schedule would.
    finish(sessions, begin(sessions, copy), Outcome(status=503, error="", seconds=0, retry_after=1e9))
    assert state_of(sessions, copy.delivery_id)[2] == pytest.approx(86400, abs=2)
    with sessions.begin() as session:
        webhooks.enable_endpoint(session, endpoint)
    pass_time(sessions, GUARD + 1)
    (copy,) = claim(sessions)
    finish(sessions, begin(sessions, copy), Outcome(status=503, error="", seconds=0, retry_after=0.0))
    _, tries, due_in = state_of(sessions, copy.delivery_id)
    assert due_in == pytest.approx(WAITS[tries - 1], abs=2)


def test_gone_disables_the_endpoint_and_what_failed_can_be_sent_again(
    sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    endpoint = add_endpoint(sessions, URL)
    other = add_endpoint(sessions, "https://example.org/hook")
    add_messages(sessions, 3)
    sent = [begin(sessions, copy) for copy in claim(sessions)]
    mine, beside = (outgoing for outgoing in sent if outgoing and outgoing.endpoint_id == endpoint)
    gone = Outcome(status=410, error="HTTP 410", seconds=0.01)
    assert finish(sessions, mine, gone)
    assert not finish(sessions, beside, gone), "disabled once"
    with sessions() as session:
        row = session.execute(
            text("SELECT enabled, disabled_reason FROM webhook_endpoints WHERE id = :id"), {"id": endpoint}
        ).one()
        assert tuple(row) == (False, "gone")
        counts = dict(
            session.execute(
                text("SELECT endpoint_id::text || state, count(*) FROM deliveries GROUP BY 1")
            ).all()
        )
    assert counts == {f"{endpoint}failed": 3, f"{other}pending": 3}
    with sessions() as session:
        seen = read_facts(session, clean_servers).receivers
    assert (seen.gone, seen.given_up, seen.hanging) == (1, 3, 0)
    with sessions.begin() as session:
        with pytest.raises(delivery_list.NotRedeliverable):
            delivery_list.redeliver(session, mine.id)
        assert delivery_list.redeliver_failed(session, DeliveryFilter()) == 0
    with sessions.begin() as session:
        webhooks.enable_endpoint(session, endpoint)
    with sessions.begin() as session:
        assert delivery_list.redeliver_failed(session, DeliveryFilter(endpoint_id=endpoint)) == 3
    pass_time(sessions, HOLD + 1)
    again = [begin(sessions, copy) for copy in claim(sessions)]
    assert {outgoing.attempts for outgoing in again if outgoing and outgoing.endpoint_id == endpoint} == {1}


def test_a_message_that_is_being_sent_is_sent_again_by_hand_only_afterwards(
    sessions: sessionmaker[Session],
) -> None:
    endpoint = add_endpoint(sessions, URL)
    add_messages(sessions, 1)
    (copy,) = claim(sessions)
    outgoing = begin(sessions, copy)
    with sessions.begin() as session:
        webhooks.disable_endpoint(session, endpoint)
        webhooks.enable_endpoint(session, endpoint)
    with sessions.begin() as session:
        delivery_list.redeliver(session, copy.delivery_id)
    assert claim(sessions) == [], "a second send beside the first"
    finish(sessions, outgoing, OK)
    assert state_of(sessions, copy.delivery_id)[0] == "delivered"


def test_nothing_is_sent_nor_kept_of_an_erased_job(sessions: sessionmaker[Session]) -> None:
    add_endpoint(sessions, URL)
    add_endpoint(sessions, "https://example.org/hook")
    (job_id,) = add_messages(sessions, 1, "marlene")
    told = Outcome(status=400, error="HTTP 400", seconds=0.01, answer="no such person: marlene")
    copies = claim(sessions)
    before, during = (begin(sessions, copy) for copy in copies)
    finish(sessions, before, told)
    with sessions.begin() as session:
        job_erasure.begin_erasure(session, job_id)
    with sessions.begin() as session:
        job_erasure.erase(session, job_id)
    finish(sessions, during, told)
    with sessions() as session:
        for table in ("deliveries", "delivery_tries"):
            rows = session.execute(text(f"SELECT row_to_json({table})::text FROM {table}")).scalars().all()
            assert not [row for row in rows if "marlene" in row]
    copy = copies[0]
    assert begin(sessions, copy) is None
    with sessions.begin() as session:
        assert delivery_list.redeliver_failed(session, DeliveryFilter()) == 0
        with pytest.raises((delivery_list.NotRedeliverable, delivery_list.DeliveryNotFound)):
            delivery_list.redeliver(session, copy.delivery_id)
    pass_time(sessions, GUARD + 1)
    assert claim(sessions) == []
