"""Rules of BOSH sessions, after the list of cases in MongooseIM's `bosh_SUITE`.

Each test says what warmside's login does when the rule applies: recover, raise an error, or leave nothing behind.
`tests/real/test_bosh_rules.py` checks the same rules on ejabberd.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.words.xish.domish import Element

from tests.bosh.lease import FIRST_RID, Simulation, simulate
from tests.bosh.manager import Behaviour, SimulatedManager
from tests.support import now
from warmside.bosh.errors import Banned, Terminated, Unreachable
from warmside.bosh.runner import MAX_PAUSE_ATTEMPTS, MAX_RETRIES, MIN_ARRIVAL_TIME, LostCreation
from warmside.bosh.session import Parameters, Session


def held_poll(simulation: Simulation) -> "tuple[int, Deferred[Any]]":
    """Let the manager hold an empty request; return its rid and its result."""
    polling = simulation.start(simulation.runner.exchange([]))
    simulation.lease.run()
    (rid,) = simulation.manager.held
    assert not polling.called
    return rid, polling


def ids(elements: Sequence[Element | str]) -> list[str | None]:
    return [element["id"] if isinstance(element, Element) else ET.fromstring(element).get("id") for element in elements]


# --- interleaved requests -------------------------------------------------------------------------------------------


def test_requests_that_arrive_in_reverse_order_are_processed_in_the_order_of_rids() -> None:
    simulation = simulate(Behaviour(slow_authentication=True))
    manager, lease = simulation.manager, simulation.lease
    logging_in = simulation.start(simulation.runner.log_in())
    reversed_order = False
    while not logging_in.called:
        if len(manager.arriving) == 2:
            manager.arriving.reverse()
            reversed_order = True
        moves: list[Any] = manager.moves() or [lease.deliver]
        moves[0]()
    now(logging_in)
    assert reversed_order and [rid for rid, _ in lease.sent] == list(range(FIRST_RID, FIRST_RID + len(lease.sent)))
    assert simulation.session.next_rid == manager.last + 1


def test_responses_that_arrive_in_reverse_order_are_read_in_the_order_of_rids() -> None:
    session = Session(Parameters("example.org"), first_rid=FIRST_RID)
    manager = SimulatedManager(Behaviour())
    manager.arriving.append(session.create())
    while manager.moves():
        manager.moves()[0]()
    session.receive(manager.leaving[0][0], 200, manager.leaving.pop()[1])
    session.take()
    for identifier in ("first", "second"):
        manager.arriving.append(session.send())
        manager.moves()[0]()
        manager.message(identifier)
        manager.moves()[0]()
    for rid, body in reversed(manager.leaving):
        session.receive(rid, 200, body)
    assert ids(session.take()) == ["first", "second"]


# --- rid outside the window -----------------------------------------------------------------------------------------


def test_a_rid_outside_the_window_ends_the_session_with_an_error_and_nothing_more_is_sent() -> None:
    simulation = simulate().logged_in()
    simulation.manager.last -= 5
    simulation.manager.stored.clear()
    exchanging = simulation.start(simulation.runner.exchange([]))
    simulation.lease.run()
    with pytest.raises(Terminated, match="item-not-found") as caught:
        now(exchanging)
    assert caught.value.step == "handover" and simulation.session.over
    sent = len(simulation.lease.sent)
    simulation.close()
    assert len(simulation.lease.sent) == sent, "a session that the manager has ended is not terminated again"


def test_a_session_whose_manager_waits_for_a_lost_request_is_ended_by_a_rid_outside_the_window() -> None:
    simulation = simulate().logged_in()
    simulation.start(simulation.runner.exchange([])).addErrback(lambda failure: None)
    simulation.manager.arriving.clear()
    simulation.close()
    terminations = [body for _, body in simulation.lease.sent if b"type='terminate'" in body]
    rids = [rid for rid, _ in simulation.lease.sent[-2:]]
    assert len(terminations) == 2 and rids[1] > rids[0] + simulation.manager.behaviour.requests


# --- connection lost in a long poll ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arrived", [True, False])
def test_a_held_request_whose_connection_is_lost_is_sent_again_with_its_rid(arrived: bool) -> None:
    simulation = simulate().logged_in()
    polling = simulation.start(simulation.runner.exchange([]))
    rid = simulation.session.next_rid - 1
    if arrived:
        simulation.lease.run()
    simulation.lease.lose(rid, arrived=arrived)
    simulation.lease.run()
    assert simulation.lease.sent[-1] == simulation.lease.sent[-2], "the same bytes"
    simulation.manager.message("m")
    simulation.lease.run()
    assert ids(now(polling)) == ["m"] and simulation.session.next_rid == rid + 1


def test_a_connection_that_is_lost_too_often_is_an_error_and_the_session_is_ended() -> None:
    simulation = simulate().logged_in()
    rid, polling = held_poll(simulation)
    for _ in range(1 + MAX_RETRIES):
        simulation.lease.lose(rid)
    with pytest.raises(Unreachable, match="lost"):
        now(polling)
    simulation.close()
    assert simulation.lease.sent.count(simulation.lease.sent[-2]) == 1 + MAX_RETRIES


def test_a_session_creation_whose_connection_is_lost_is_never_sent_again() -> None:
    simulation = simulate()
    logging_in = simulation.start(simulation.runner.log_in())
    simulation.lease.lose(FIRST_RID)
    with pytest.raises(LostCreation):
        now(logging_in)
    closing = simulation.start(simulation.runner.close())
    assert closing.called and len(simulation.lease.sent) == 1


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(0, 2), st.booleans(), st.integers(0, 2), st.integers(1, MAX_RETRIES))
def test_connections_lost_at_any_moment_lose_no_element_and_double_none(
    data: st.DataObject, hold: int, at_once: bool, messages: int, losses: int
) -> None:
    behaviour = Behaviour(hold=hold, requests=hold + 1, at_once=at_once, messages=messages, slow_authentication=True)
    simulation = simulate(behaviour)
    manager, lease = simulation.manager, simulation.lease
    logging_in = simulation.start(simulation.runner.log_in())
    while not logging_in.called:
        events: list[Any] = manager.moves() + [lease.deliver] * bool(manager.leaving)
        may_lose = [(rid, arrived) for rid in lease.posted for arrived in (True, False)]
        if not losses or FIRST_RID in lease.posted:
            may_lose.clear()
        chosen = data.draw(st.integers(0, len(events) + len(may_lose) - 1))
        if chosen < len(events):
            events[chosen]()
        else:
            rid, arrived = may_lose[chosen - len(events)]
            lease.lose(rid, arrived=arrived)
            losses -= 1
    now(logging_in)
    assert not manager.over and not simulation.session.outstanding
    kept = ids(simulation.runner._login.others) + ids(manager.queue)
    assert kept == [f"m{number}" for number in range(messages)]


# --- pause ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers_pause", [True, False])
def test_a_pause_frees_every_held_request(answers_pause: bool) -> None:
    simulation = simulate(Behaviour(answers_pause=answers_pause)).logged_in()
    pausing = simulation.start(simulation.runner.pause(60))
    simulation.lease.run()
    assert len(simulation.manager.held) == 1 and simulation.manager.paused is None
    simulation.advance(MIN_ARRIVAL_TIME)
    assert now(pausing) == (True, [])
    assert simulation.manager.paused == 60
    assert not simulation.session.outstanding and not simulation.manager.held and not simulation.lease.posted
    assert simulation.session.next_rid == simulation.manager.last + 1


def test_a_pause_waits_until_no_stanza_arrives_so_that_ejabberd_loses_none() -> None:
    simulation = simulate(Behaviour(answers_pause=False)).logged_in()
    pausing = simulation.start(simulation.runner.pause(60))
    simulation.lease.run()
    for identifier in ("m1", "m2"):
        simulation.manager.message(identifier)
        simulation.lease.run()
        simulation.advance(MIN_ARRIVAL_TIME)
    assert simulation.manager.paused is None
    simulation.advance(MIN_ARRIVAL_TIME)
    paused, stanzas = now(pausing)
    assert paused and ids(stanzas) == ["m1", "m2"] and simulation.manager.paused == 60


def test_a_session_in_which_stanzas_keep_arriving_is_not_paused_and_loses_none() -> None:
    simulation = simulate(Behaviour(answers_pause=False)).logged_in()
    pausing = simulation.start(simulation.runner.pause(60))
    simulation.lease.run()
    for number in range(MAX_PAUSE_ATTEMPTS):
        simulation.manager.message(f"m{number}")
        simulation.lease.run()
        simulation.advance(MIN_ARRIVAL_TIME)
    paused, stanzas = now(pausing)
    assert not paused and len(stanzas) == MAX_PAUSE_ATTEMPTS
    assert simulation.manager.paused is None and not simulation.session.outstanding


def test_a_pause_above_the_limit_ends_the_session_with_an_error_and_nothing_more_is_sent() -> None:
    simulation = simulate().logged_in()
    assert simulation.session.maxpause == 120, "the warmer reads this limit and rejects a longer pause by itself"
    pausing = simulation.start(simulation.runner.pause(121))
    simulation.advance(MIN_ARRIVAL_TIME)
    with pytest.raises(Banned, match="policy-violation"):
        now(pausing)
    sent = len(simulation.lease.sent)
    simulation.close()
    assert len(simulation.lease.sent) == sent


# --- forced retransmission, and trimming of the stored responses ----------------------------------------------------


def test_a_response_that_is_lost_is_sent_again_and_its_elements_arrive_once() -> None:
    simulation = simulate().logged_in()
    rid, polling = held_poll(simulation)
    simulation.manager.message("m")
    simulation.manager.moves()[0]()
    assert simulation.manager.leaving and not simulation.manager.held
    simulation.lease.lose(rid)
    simulation.lease.run()
    assert ids(now(polling)) == ["m"]
    _, polling = held_poll(simulation)
    simulation.manager.message("next")
    simulation.lease.run()
    assert ids(now(polling)) == ["next"]


def test_a_manager_that_requests_a_retry_gets_the_same_bytes() -> None:
    simulation = simulate().logged_in()
    rid, polling = held_poll(simulation)
    simulation.manager.leaving.append((rid, b"<body xmlns='http://jabber.org/protocol/httpbind' type='error'/>"))
    simulation.lease.run()
    assert simulation.lease.sent[-1] == simulation.lease.sent[-2]
    simulation.manager.message("m")
    simulation.lease.run()
    assert ids(now(polling)) == ["m"]


def polled_and_trimmed(behaviour: Behaviour) -> "tuple[Simulation, Deferred[Any]]":
    """Lose a response that the manager does not store."""
    simulation = simulate(behaviour).logged_in()
    rid, polling = held_poll(simulation)
    simulation.manager.message("m")
    simulation.manager.moves()[0]()
    simulation.lease.lose(rid)
    simulation.lease.run()
    return simulation, polling


def test_a_request_whose_stored_response_was_trimmed_ends_the_session_with_an_error() -> None:
    simulation, polling = polled_and_trimmed(Behaviour(stored=0))
    with pytest.raises(Terminated, match="item-not-found") as caught:
        now(polling)
    assert caught.value.step == "handover"
    sent = len(simulation.lease.sent)
    simulation.close()
    assert len(simulation.lease.sent) == sent


def test_a_request_whose_stored_response_was_trimmed_and_that_is_never_answered_leaves_nothing_behind() -> None:
    simulation, polling = polled_and_trimmed(Behaviour(stored=0, ends_trimmed=False))
    assert not polling.called, "it waits for the login's timeout, which cancels it"
    polling.addErrback(lambda failure: failure.trap(CancelledError))
    polling.cancel()
    simulation.close()
    assert b"type='terminate'" in simulation.lease.sent[-1][1]
