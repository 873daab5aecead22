"""The examples for web developers, each in its own runtime, against a real ejabberd."""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.real.applications import EXAMPLES, NAMES, Application
from tests.real.boshclient import BoshClient
from tests.real.parts import PASSWORD, Server


@pytest.fixture(scope="module", params=NAMES)
def application(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Application]:
    """Run each example."""
    running = Application(request.param, tmp_path_factory.mktemp("application"), server.port)
    yield running
    running.close()


def local_of(jid: str) -> str:
    """Return the local part of a JID."""
    return jid.partition("@")[0]


def test_each_tab_gets_its_own_session(application: Application, server: Server) -> None:
    jid = application.user("Rosencrantz")
    assert jid == f"{application.name}\\20rosencrantz@example.org"
    assert application.request("GET", "/chat-user").json() == {"jid": jid}
    assert application.request("GET", "/chat-allowed").status == 204
    tabs = [application.request("POST", "/chat-session") for _ in range(2)]
    sessions = [reply.json() for reply in tabs]
    assert sorted(server.sessions(local_of(jid))) == sorted(session["jid"] for session in sessions)
    for session in sessions:
        client = BoshClient(server.bosh).attach(session)
        assert client.ping()
        client.terminate()


def test_a_credential_logs_a_client_in_once(application: Application, server: Server) -> None:
    jid = application.user("Osric")
    credential = application.request("POST", "/chat-credentials").json()
    assert credential["jid"] == jid
    client = BoshClient(server.bosh)
    assert client.log_in(local_of(jid), credential["password"]).startswith(jid)
    client.terminate()


def test_a_user_gets_what_was_sent_before_the_first_login(application: Application, server: Server) -> None:
    newcomer = application.user("Reynaldo")
    message = {"type": "chat", "from": "polonius@example.org", "to": newcomer, "subject": "", "body": "welcome"}
    server.command("send_message", **message)
    client = BoshClient(server.bosh).attach(application.request("POST", "/chat-session").json())
    client.presence()
    assert client.await_message() == "welcome"
    client.terminate()


def test_request_fields_do_not_change_the_user(application: Application, server: Server) -> None:
    jid = application.user("Guildenstern")
    other = {"jid": "hamlet@example.org", "user": "hamlet"}
    reply = application.request("POST", f"/chat-session?{urllib.parse.urlencode(other)}", other)
    assert reply.json()["jid"].startswith(f"{jid}/")
    BoshClient(server.bosh).attach(reply.json()).terminate()
    assert server.sessions("hamlet") == []


def test_a_name_that_is_another_users_account_is_refused(application: Application) -> None:
    application.user("Straße")
    assert application.sign_up(f"{application.name} Strasse").status == 409
    assert application.sign_up(f"{application.name} STRASSE").status == 409
    assert application.sign_up(f"{application.name} Straße").status == 409
    assert application.sign_up("  ").status == 400


def test_the_log_out_ends_every_session(application: Application, server: Server) -> None:
    jid = application.user("Ophelia")
    for _ in range(2):
        assert application.request("POST", "/chat-session").status == 200
    assert len(server.sessions(local_of(jid))) == 2
    assert application.request("POST", "/logout").status == 200
    assert server.sessions(local_of(jid)) == []
    for method, path in (("GET", "/chat-user"), ("POST", "/chat-session"), ("POST", "/chat-credentials")):
        reply = application.request(method, path)
        assert (reply.status, set(reply.json())) == (401, {"error"})
    assert application.request("GET", "/chat-allowed").status == 401


def test_a_page_of_another_site_can_not_post_to_django(server: Server, tmp_path: Path) -> None:
    application = Application("django_app.py", tmp_path, server.port)
    try:
        application.user("Horatio")
        assert application.request("POST", "/chat-session", token=False).status == 403
    finally:
        application.close()


@pytest.mark.parametrize("name", NAMES)
def test_an_error_gives_the_browser_no_detail(name: str, server: Server, tmp_path: Path) -> None:
    for port, password, status in ((free_port(), PASSWORD, 503), (server.port, "wrong", 403)):
        application = Application(name, tmp_path, port, password)
        try:
            reply = application.sign_up("Yorick")
            assert (reply.status, list(json.loads(reply.body))) == (status, ["error"])
            assert "warmside" not in reply.body.decode()
            assert (status == 503) == ("Retry-After" in reply.headers)
            assert b"chat: /users: " in application.log.read_bytes()
        finally:
            application.close()


def test_every_example_is_tested() -> None:
    clients = {f"warmside_client.{suffix}" for suffix in ("py", "php", "mjs")}
    programs = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".php", ".mjs")}
    assert programs == {*NAMES, *clients}
