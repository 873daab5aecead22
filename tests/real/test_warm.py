"""Warm sessions on a real ejabberd with the sample configuration."""

import http.client
import json
import os
import random
import re
import signal
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from xml.etree.ElementTree import SubElement

import pytest
from twisted.internet.defer import Deferred

from tests.real.boshclient import BoshClient, Refused, element
from tests.real.parts import Server, basic, until
from warmside.store.sqlite import SQLiteStore


def mint(server: Server, bare: str, lifetime: float = 30) -> str:
    """Mint a one-time password in the server's store.

    :param lifetime: seconds.
    """
    store = SQLiteStore(server.store)
    minted: list[str] = []
    Deferred.fromCoroutine(store.mint(bare, lifetime)).addCallback(lambda password: minted.append(password.text))
    Deferred.fromCoroutine(store.close())
    return minted[0]


def log_in(server: Server, user: str, password: str) -> BoshClient:
    """Log in with a password, as any BOSH client does."""
    client = BoshClient(server.bosh)
    client.log_in(user, password)
    return client


def test_a_session_for_a_user_without_a_password_answers_a_ping(server: Server) -> None:
    reply = server.warm(jid="juliet@example.org")
    assert reply.status == 200, reply.body
    session = reply.json()
    assert re.fullmatch(r"juliet@example\.org/.+", session["jid"])
    client = BoshClient(server.bosh).attach(session)
    assert client.ping()
    client.terminate()


def test_a_message_sent_between_warm_and_attach_arrives_on_attach(server: Server) -> None:
    romeo = server.attached("romeo@example.org")
    session = server.warm(jid="juliet@example.org/balcony", wait=1).json()
    assert session["jid"] == "juliet@example.org/balcony"
    romeo.message(session["jid"], "But soft!")
    juliet = BoshClient(server.bosh).attach(session)
    assert juliet.await_message() == "But soft!"
    juliet.terminate()
    romeo.terminate()


def test_the_bound_jid_is_the_requested_one_after_preparation(server: Server) -> None:
    session = server.warm(jid="JULIET@Example.ORG/Garden").json()
    assert session["jid"] == "juliet@example.org/Garden"
    BoshClient(server.bosh).attach(session).terminate()


def test_a_one_time_password_logs_in_once(server: Server) -> None:
    password = mint(server, "juliet@example.org")
    log_in(server, "juliet", password).terminate()
    with pytest.raises(Refused, match="not-authorized"):
        log_in(server, "juliet", password)


def test_an_attempt_of_another_user_is_rejected_and_does_not_redeem_the_password(server: Server) -> None:
    password = mint(server, "juliet@example.org")
    with pytest.raises(Refused):
        log_in(server, "romeo", password)
    log_in(server, "juliet", password).terminate()


def test_a_one_time_password_expires(server: Server) -> None:
    password = mint(server, "laurence@example.org", lifetime=0.2)
    time.sleep(0.3)
    with pytest.raises(Refused):
        log_in(server, "laurence", password)


def test_a_warm_session_leaves_no_password_behind(server: Server) -> None:
    client = server.attached("juliet@example.org")
    assert client.ping()
    client.terminate()
    assert left_in_store(server, "juliet@example.org") == 0


def left_in_store(server: Server, bare: str) -> int:
    """Revoke the user's unused passwords and return their number."""
    counted: list[int] = []
    store = SQLiteStore(server.store)
    Deferred.fromCoroutine(store.revoke_all(bare)).addCallback(counted.append)
    Deferred.fromCoroutine(store.close())
    return counted[0]


def test_failed_logins_leave_no_session(server: Server) -> None:
    server.command("register", user="paris", host="example.org", password="county")
    before = set(server.command("connected_users"))
    for _ in range(5):
        reply = server.warm(jid="paris@example.org", password="wrong")
        assert (reply.status, reply.json()["type"]) == (403, "urn:warmside:password-refused")
        assert server.warm(jid="juliet@nowhere.example").status == 502
    until(lambda: set(server.command("connected_users")) <= before)


def test_users_with_passwords_still_log_in_with_them(server: Server) -> None:
    server.command("register", user="nurse", host="example.org", password="angelica")
    client = log_in(server, "nurse", "angelica")
    assert client.ping()
    client.terminate()
    with pytest.raises(Refused):
        log_in(server, "nurse", "wrong")
    session = server.warm(jid="nurse@example.org", password="angelica").json()
    BoshClient(server.bosh).attach(session).terminate()


def test_cancelled_requests_leave_no_session(server: Server) -> None:
    body = json.dumps({"jid": "mercutio@example.org"}).encode()
    head = (
        f"POST /warm HTTP/1.1\r\nHost: localhost\r\nAuthorization: {basic()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    attempts = 12
    for milliseconds in range(attempts):
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            caller.sendall(head.encode() + body)
            time.sleep(milliseconds / 1000)
            # Closing resets the connection, as the end of a killed process does.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    # A reset before or after the reply was written ends the session.
    ended = r'outcome="(?:hung-up|undelivered)" .* jid="mercutio@'
    until(lambda: re.search(ended, server.output()) and not server.sessions("mercutio"))
    until(lambda: left_in_store(server, "mercutio@example.org") == 0, within=10)  # seconds; they expire after 30


def test_messages_and_contact_requests_wait_for_an_offline_user(server: Server) -> None:
    rosaline = server.attached("rosaline@example.org")
    rosaline.presence()
    rosaline.terminate()
    until(lambda: not server.sessions("rosaline"))
    romeo = server.attached("romeo@example.org")
    romeo.presence()
    romeo.message("rosaline@example.org", "Where are you?")
    romeo.presence(to="rosaline@example.org", type="subscribe")
    assert romeo.ping()
    romeo.terminate()
    rosaline = server.attached("rosaline@example.org")
    rosaline.presence()
    assert rosaline.await_message() == "Where are you?"
    request = rosaline.await_element(lambda each: each.get("type") == "subscribe")
    assert request.get("from") == "romeo@example.org"
    rosaline.terminate()


def test_a_message_to_an_unknown_user_bounces(server: Server) -> None:
    romeo = server.attached("romeo@example.org")
    romeo.message("nobody@example.org", "Hello?")
    bounced = romeo.await_element(lambda each: each.get("type") == "error")
    assert bounced.get("from") == "nobody@example.org"
    romeo.terminate()


def test_a_warm_session_can_not_set_a_password(server: Server) -> None:
    client = server.attached("juliet@example.org")
    query = element("query", "jabber:iq:register")
    SubElement(query, "username").text = "juliet"
    SubElement(query, "password").text = "capulet1"
    assert client.ask(query, to="example.org", kind="set").get("type") == "error"
    client.terminate()
    with pytest.raises(Refused):
        log_in(server, "juliet", "capulet1")


def test_killed_extauth_programs_are_replaced(server: Server) -> None:
    killed = until(lambda: len(server.programs()) == 2 and server.programs())
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(server.programs()) - set(killed)) == 2)
    until(server.serves)

    def warmed() -> bool:
        try:
            reply = server.warm(jid="juliet@example.org")
        except (OSError, http.client.HTTPException):
            return False
        if reply.status == 200:
            BoshClient(server.bosh).attach(reply.json()).terminate()
        return reply.status == 200

    until(warmed)


def test_nothing_secret_is_in_any_log(server: Server) -> None:
    session = server.warm(jid="juliet@example.org").json()
    assert server.warm(jid="nurse@example.org", password="a-wrong-secret").status == 403
    BoshClient(server.bosh).attach(session).terminate()
    logged = server.output()
    assert 'jid="juliet@example.org/' in logged
    for secret in (session["sid"], "warmside-otp-", "a-wrong-secret", "correct horse"):
        assert secret not in logged


def test_two_hundred_logins_cancelled_at_random_moments_leave_nothing(server: Server) -> None:
    users = [f"cut{number}" for number in range(200)]
    rng = random.Random(7)

    def cancel(user: str) -> None:
        body = json.dumps({"jid": f"{user}@example.org", "presence": "available"}).encode()
        head = (
            f"POST /warm HTTP/1.1\r\nHost: localhost\r\nAuthorization: {basic()}\r\nX-Request-ID: {user}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            caller.sendall(head.encode() + body)
            time.sleep(rng.uniform(0, 1.5 * usual))
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def warmed(number: int) -> float:
        started = time.monotonic()
        assert server.warm(jid=f"usual{number}@example.org").status == 200
        return time.monotonic() - started

    with ThreadPoolExecutor(4) as pool:
        usual = statistics.median(pool.map(warmed, range(20)))
        list(pool.map(cancel, users))

    def delivered() -> set[str]:
        success = 'outcome="success" status=200 admin="webapp" from="127.0.0.1" jid="'
        logged = server.output()
        return {user for user in users if f"{success}{user}@" in logged}

    def begun() -> set[str]:
        logged = server.output()
        return {user for user in users if f"authentication for {user}@example.org by external" in logged}

    # A session remains only if its reply was written before the reset arrived.
    until(lambda: {jid.partition("@")[0] for jid in server.sessions("cut*")} <= delivered())
    until(lambda: len(begun() - delivered()) > 5)  # some were cancelled during the login
    assert all(left_in_store(server, f"{user}@example.org") == 0 for user in users)
