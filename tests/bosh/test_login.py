"""Login against a connection manager that answers in any order."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bosh.manager import Behaviour, SimulatedManager
from warmside.bosh.errors import Refused, Terminated
from warmside.bosh.login import Login
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Session
from warmside.jids import prepare

MAX_STEPS = 500


def new_login(*, one_time: bool = True, parallel: int = 2, bind: bool = True, early: bool = True) -> Login:
    credentials = Credentials(prepare("juliet@example.org/r"), "secret", one_time=one_time)
    session = Session(Parameters("example.org"), first_rid=100, early=early)
    return Login(session, credentials, parallel=parallel, bind=bind, within=10)


def drive(login: Login, manager: SimulatedManager, choose: Callable[[int], int]) -> int:
    """Run a login to its end; ``choose`` selects the next event. Return the number of requests."""
    sent = login.start()
    count = len(sent)
    manager.arriving += sent
    for _ in range(MAX_STEPS):
        if login.done:
            return count
        moves = manager.moves()
        total = len(moves) + len(manager.leaving)
        assert total, "nothing can happen any more, but the login is not done"
        chosen = choose(total)
        if chosen < len(moves):
            moves[chosen]()
        else:
            requests = login.receive(*_response(manager.leaving.pop(chosen - len(moves))))
            assert len(login.session.outstanding) <= 2
            count += len(requests)
            manager.arriving += requests
    raise AssertionError("the login did not end")


def _response(answer: tuple[int, bytes]) -> tuple[int, int, bytes]:
    return answer[0], 200, answer[1]


behaviours = st.builds(
    Behaviour,
    hold=st.integers(0, 3),
    requests=st.just(0),
    restart_logic=st.booleans(),
    at_once=st.booleans(),
    slow_authentication=st.booleans(),
    expiries=st.integers(0, 4),
    ack=st.booleans(),
    forgetful=st.booleans(),
    messages=st.integers(0, 3),
).map(lambda behaviour: _with_requests(behaviour))


def _with_requests(behaviour: Behaviour) -> Behaviour:
    behaviour.requests = behaviour.hold + 1
    return behaviour


@settings(max_examples=300, deadline=None)
@given(behaviours, st.booleans(), st.sampled_from([1, 2]), st.data())
def test_every_order_of_responses_ends_in_a_session_without_an_outstanding_request(
    behaviour: Behaviour, one_time: bool, parallel: int, data: st.DataObject
) -> None:
    login, manager = new_login(one_time=one_time, parallel=parallel), SimulatedManager(behaviour)
    drive(login, manager, lambda total: data.draw(st.integers(0, total - 1)))
    assert login.jid is not None and login.jid.full() == "juliet@example.org/r"
    assert not login.session.outstanding and not manager.held and not manager.leaving and not manager.arriving
    assert login.session.next_rid == manager.last + 1 and not manager.over
    kept = [ET.fromstring(text).get("id") for text in login.others if isinstance(text, str)]
    assert kept == [f"m{number}" for number in range(manager.delivered)]
    waiting = [element["id"] for element in manager.queue]
    assert kept + waiting == [f"m{number}" for number in range(behaviour.messages)]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.data())
def test_a_manager_that_answers_empty_before_the_server_does_loses_nothing(expiries: int, data: st.DataObject) -> None:
    login, manager = (
        new_login(),
        SimulatedManager(Behaviour(forgetful=True, slow_authentication=True, expiries=expiries)),
    )
    drive(login, manager, lambda total: data.draw(st.integers(0, total - 1)))
    assert login.jid is not None


@settings(max_examples=100, deadline=None)
@given(behaviours, st.sampled_from([1, 2]), st.data())
def test_a_rejected_password_is_reported_in_every_order_of_responses(
    behaviour: Behaviour, parallel: int, data: st.DataObject
) -> None:
    behaviour.accept = False
    behaviour.restart_logic = False
    login = new_login(parallel=parallel)
    with pytest.raises(Refused, match="not-authorized"):
        drive(login, SimulatedManager(behaviour), lambda total: data.draw(st.integers(0, total - 1)))
    assert login.jid is None


@settings(max_examples=100, deadline=None)
@given(behaviours, st.data())
def test_a_login_without_bind_binds_nothing(behaviour: Behaviour, data: st.DataObject) -> None:
    login, manager = new_login(bind=False), SimulatedManager(behaviour)
    drive(login, manager, lambda total: data.draw(st.integers(0, total - 1)))
    assert login.jid is None and not manager.restarted


@settings(max_examples=300, deadline=None)
@given(behaviours, st.booleans(), st.booleans(), st.booleans(), st.data())
def test_a_login_without_early_requests_works_on_a_manager_that_mishandles_them(
    behaviour: Behaviour, drops_payload: bool, breaks: bool, one_time: bool, data: st.DataObject
) -> None:
    behaviour.drops_payload, behaviour.breaks_on_early_restart = drops_payload, breaks
    login, manager = new_login(one_time=one_time, early=False), SimulatedManager(behaviour)
    drive(login, manager, lambda total: data.draw(st.integers(0, total - 1)))
    assert login.jid is not None and not login.session.outstanding and not login.sent_early
    assert login.session.next_rid == manager.last + 1 and not manager.over


def test_an_early_restart_is_lost_on_a_manager_like_node_xmpp_bosh() -> None:
    manager = SimulatedManager(Behaviour(slow_authentication=True, breaks_on_early_restart=True))
    login = new_login()
    manager.arriving += login.start()
    for _ in ("the creation arrives", "the features are sent"):
        manager.moves()[0]()
    manager.arriving += login.receive(*_response(manager.leaving.pop()))
    manager.moves()[0]()
    with pytest.raises(Terminated, match="item-not-found"):
        while manager.leaving:
            login.receive(*_response(manager.leaving.pop()))
    assert login.sent_early and not login.complete


def test_an_early_authentication_is_lost_on_a_manager_like_punjab() -> None:
    login = new_login()
    with pytest.raises(AssertionError, match="nothing can happen any more"):
        drive(login, SimulatedManager(Behaviour(restart_logic=False, drops_payload=True)), promptly)
    assert login.sent_early and not login.complete


def promptly(total: int) -> int:
    """Let the manager act before the client reads."""
    return 0


def test_a_login_takes_four_requests_on_a_manager_like_ejabberd() -> None:
    assert drive(new_login(), SimulatedManager(Behaviour(slow_authentication=True)), promptly) <= 4


def test_a_login_takes_four_requests_when_requests_are_held_shorter_than_the_login_timeout() -> None:
    assert drive(new_login(), SimulatedManager(Behaviour(slow_authentication=True, forgetful=True)), promptly) <= 4


def test_a_login_takes_three_requests_on_a_manager_like_prosody() -> None:
    assert drive(new_login(), SimulatedManager(Behaviour(restart_logic=False)), promptly) == 3


def test_a_manager_that_allows_one_request_gets_requests_one_by_one() -> None:
    login, manager = new_login(), SimulatedManager(Behaviour(hold=0, requests=1))
    requests = login.start()
    while not login.done:
        assert len(requests) == 1
        manager.arriving += requests
        manager.moves()[0]()
        requests = login.receive(*_response(manager.leaving.pop()))
    assert login.jid is not None
