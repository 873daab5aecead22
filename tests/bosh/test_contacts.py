"""Contacts in a roster result, and the trees that are left of it."""

import gc
from typing import Any

from twisted.words.xish.domish import Element

from warmside.bosh.body import decode
from warmside.bosh.contacts import contacts_of

OPEN = b"<body xmlns='http://jabber.org/protocol/httpbind'><iq xmlns='jabber:client' id='%s' type='result'>"
QUERY = b"<query xmlns='jabber:iq:roster' ver='7'>%s</query></iq></body>"


def fetched(items: bytes, identifier: bytes = b"own") -> Any:
    """Return the element of a roster result, when the login awaits the id ``own``."""
    (element,) = decode(OPEN % identifier + QUERY % items, {"own"}).elements
    return element


def test_contacts_are_read_and_a_jid_that_twisted_refuses_is_passed_on() -> None:
    iq = fetched(
        b"<item jid='romeo@example.org' name='R &amp; J' subscription='both'><group>b</group><group>a</group>"
        b"<group>b</group></item><item jid='x@my_host' ask='subscribe'/><item jid='a@..' ask='other' name=''/>"
    )
    assert contacts_of(iq) == [
        {"jid": "romeo@example.org", "name": "R & J", "subscription": "both", "ask": None, "groups": ("a", "b")},
        {"jid": "x@my_host", "name": None, "subscription": "none", "ask": "subscribe", "groups": ()},
        {"jid": "a@..", "name": None, "subscription": "none", "ask": None, "groups": ()},
    ]


def test_an_empty_roster_has_no_contacts() -> None:
    assert contacts_of(fetched(b"")) == []


def test_only_a_result_that_the_login_awaits_has_contacts() -> None:
    foreign = fetched(b"<item jid='a@b'/>", b"other")
    assert isinstance(foreign, str) and "a@b" in foreign


def test_no_trees_of_contacts_are_left_for_the_garbage_collector() -> None:
    items = b"<item jid='a@example.org'><group>x</group></item>" * 1000
    gc.collect()
    gc.disable()
    try:
        iq = fetched(items)
        elements = [each for each in gc.get_objects() if isinstance(each, Element)]
        assert len(contacts_of(iq)) == 1000
        assert len(elements) < 500
    finally:
        gc.enable()
