"""Users from sign-up to removal, with a real ejabberd: announced, logged in, removed."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.real.boshclient import CLIENT, BoshClient, Refused, Terminated
from tests.real.parts import ADMIN, HASH, LARGE_STANZAS, WARMSIDE, Reply, Server, basic, until

HOST = "example.org"
NARROWED = '\n[admin."narrow"]\nusers = ["guest*@*"]\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an admin whose policy is narrowed."""
    running = Server(tmp_path_factory.mktemp("users"), LARGE_STANZAS, toml=NARROWED)
    running.admins.write_text(f"{ADMIN}:{HASH}\nnarrow:{HASH}\n")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def abram(server: Server) -> BoshClient:
    """The session of a user that is known."""
    client = server.attached(f"abram@{HOST}")
    client.presence()
    return client


def announce(server: Server, *jids: str, name: str = ADMIN) -> Reply:
    """Send ``POST /users``."""
    headers = {"Authorization": basic(name), "Accept": "application/json", "Content-Type": "application/json"}
    return server.request("POST", "/users", json.dumps({"jids": jids}).encode(), headers)


def remove(server: Server, jid: str, name: str = ADMIN) -> Reply:
    """Send ``DELETE /users/JID``."""
    headers = {"Authorization": basic(name), "Accept": "application/json"}
    return server.request("DELETE", f"/users/{quote(jid, safe='')}", None, headers)


def exists(client: BoshClient, user: str) -> bool:
    """Return False if a message to the user bounces. The bounce comes before the answer to a ping."""
    client.arrived.clear()
    client.message(f"{user}@{HOST}", "hello")
    assert client.ping()
    return not any(each.get("type") == "error" and each.tag == f"{CLIENT}message" for each in client.arrived)


def first_login(server: Server, user: str) -> tuple[list[str], list[str]]:
    """Log a user in for the first time, with presence; return the messages and the contact requests that waited."""
    client = server.attached(f"{user}@{HOST}")
    client.presence()
    client.ping()
    messages = [each.findtext(f"{CLIENT}body") or "" for each in client.arrived if each.tag == f"{CLIENT}message"]
    asked = [each.get("from", "") for each in client.arrived if each.get("type") == "subscribe"]
    client.terminate()
    return messages, asked


def test_an_announced_user_receives_what_was_sent_before_the_first_login(server: Server, abram: BoshClient) -> None:
    assert not exists(abram, "gregory")
    reply = announce(server, "Gregory@Example.ORG", f"gregory@{HOST}", f"sampson@{HOST}")
    assert reply.status == 200
    assert reply.json() == {"jids": [f"gregory@{HOST}", f"gregory@{HOST}", f"sampson@{HOST}"], "added": 2}
    abram.presence(to=f"gregory@{HOST}", type="subscribe")
    for number in range(5):
        abram.message(f"gregory@{HOST}", f"message {number}")
    assert first_login(server, "gregory") == ([f"message {number}" for number in range(5)], [f"abram@{HOST}"])


def test_one_jid_outside_the_policy_or_malformed_announces_nobody(server: Server, abram: BoshClient) -> None:
    for bad, name, status in ((f"admin@{HOST}", ADMIN, 403), (f"nurse@{HOST}", "narrow", 403), (HOST, ADMIN, 400)):
        reply = announce(server, f"guest1@{HOST}", bad, name=name)
        assert reply.status == status and reply.json()["entry"] == 2
        assert not exists(abram, "guest1")
    assert announce(server, f"guest1@{HOST}", name="narrow").json()["added"] == 1
    assert exists(abram, "guest1")
    announce(server, f"nurse@{HOST}")
    assert remove(server, f"nurse@{HOST}", name="narrow").status == 403
    assert exists(abram, "nurse")


def test_a_removed_user_is_gone(server: Server, abram: BoshClient) -> None:
    browser = server.attached(f"tybalt@{HOST}")
    other = server.attached(f"tybalt@{HOST}")
    password = server.post("/credentials", jid=f"tybalt@{HOST}").json()["password"]
    assert exists(abram, "tybalt") and len(server.sessions("tybalt")) == 2
    reply = remove(server, f"Tybalt@{HOST}")
    assert (reply.status, reply.body) == (204, b"")
    assert "Content-Length" not in reply.headers and "Content-Type" not in reply.headers
    assert server.sessions("tybalt") == []
    assert not exists(abram, "tybalt")
    for client in (browser, other):
        with pytest.raises(Terminated):
            client.ping()
    with pytest.raises(Refused):
        BoshClient(server.bosh).log_in("tybalt", password)
    assert remove(server, f"tybalt@{HOST}").status == 204
    assert not exists(abram, "tybalt"), "ending sessions makes nobody known"
    assert f'request="DELETE /users/Tybalt%40{HOST}" outcome="success" status=204' in server.output()
    metrics = server.metrics()
    assert 'warmside_remove_total{outcome="success"} 2.0' in metrics
    assert 'warmside_announce_total{outcome="success"}' in metrics


def test_a_name_keeps_contact_requests_and_messages_until_it_is_unregistered(server: Server, abram: BoshClient) -> None:
    """This is what the README says about ``ejabberdctl unregister``."""
    for unregistered in (False, True):
        announce(server, f"potpan@{HOST}")
        abram.presence(to=f"potpan@{HOST}", type="subscribe")
        abram.message(f"potpan@{HOST}", "for the first potpan")
        assert remove(server, f"potpan@{HOST}").status == 204
        if unregistered:
            server.command("unregister", user="potpan", host=HOST)
            assert not exists(abram, "potpan")
        assert announce(server, f"potpan@{HOST}").json()["added"] == 1
        inherited = first_login(server, "potpan")
        assert inherited == (([], []) if unregistered else (["for the first potpan"], [f"abram@{HOST}"]))
        server.command("unregister", user="potpan", host=HOST)


def test_logins_that_are_under_way_are_ended_or_answered_with_409(server: Server, abram: BoshClient) -> None:
    jid = f"balthasar@{HOST}"
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(server.warm, jid=jid, wait=1) for _ in range(6)]
        before = set(until(lambda: server.sessions("balthasar")))
        assert remove(server, jid).status == 204
        replies = [each.result() for each in running]
    assert {reply.status for reply in replies} <= {200, 409}
    handed_out = {reply.json()["jid"] for reply in replies if reply.status == 200}
    left = set(server.sessions("balthasar"))
    assert not left & before
    assert left <= handed_out, "a login that is answered with 409 leaves no session"
    assert exists(abram, "balthasar") is bool(left), "a login that began after the removal makes the user known"
    assert remove(server, jid).status == 204
    assert server.sessions("balthasar") == [] and not exists(abram, "balthasar")


def test_users_are_announced_from_a_shell_beside_the_running_service(server: Server, abram: BoshClient) -> None:
    assert not exists(abram, "anthony")
    done = subprocess.run(
        [WARMSIDE, "announce", "--config", server.toml],
        input=f"Anthony@{HOST}\nabram@{HOST}\n",
        capture_output=True, text=True, check=False, timeout=60, env=server.environ,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2 users announced, 1 of them new, in {server.users}\n"
    assert exists(abram, "anthony")
    assert first_login(server, "anthony")[0] == ["hello"]
