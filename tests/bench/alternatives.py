"""Compare warmside with ejabberd's own ways to log in the users of a web application.

    python -m tests.bench.alternatives

One ejabberd serves three virtual hosts: one with warmside, one with ``auth_method: jwt``, and one with accounts of its
own and tokens of ``oauth_issue_token`` (on Debian, with the packages erlang-jose and erlang-p1-oauth2). Each row of the
table in README.md is measured on all three.
"""

import base64
import hashlib
import hmac
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.real.boshclient import BoshClient, Refused, Terminated
from tests.real.parts import Server

JWT = "jwt.example.org"
OAUTH = "oauth.example.org"
WARMSIDE = "example.org"
LOGINS = 50
LIFETIME = 3
"""Seconds that a short-lived token is valid."""


class Way(NamedTuple):
    """A way to log in: a virtual host, its SASL mechanism, and a function from user and seconds to a secret."""

    name: str
    host: str
    mechanism: str
    secret: Callable[[str, int], str]


def encoded(data: bytes) -> str:
    """Base64url without padding, as RFC 7515 has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def json_web_token(key: bytes, jid: str, seconds: int) -> str:
    """Return a JSON Web Token (RFC 7519) for a bare JID, signed with HS256."""
    parts = ({"alg": "HS256", "typ": "JWT"}, {"jid": jid, "exp": int(time.time()) + seconds})
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return signed + "." + encoded(hmac.digest(key, signed.encode(), hashlib.sha256))


class Comparison:
    """The measurements on one ejabberd."""

    def __init__(self, folder: Path) -> None:
        self.key = secrets.token_bytes(32)
        key_file = folder / "key.jwk"
        key_file.write_text(json.dumps({"kty": "oct", "k": encoded(self.key)}))
        hosts = (
            f"hosts:\n  - {JWT}\n  - {OAUTH}\n",
            (
                f"host_config:\n  {JWT}:\n    auth_method: [jwt]\n    jwt_key: {key_file}\n"
                f"  {OAUTH}:\n    auth_method: [internal]\n    auth_password_format: scram\n"
                "    disable_sasl_mechanisms: []\noauth_access: all\n"
            ),
        )
        self.server = Server(
            folder,
            ("hosts:\n", hosts[0]),
            ("acl:\n", hosts[1] + "acl:\n"),
        )
        self.ways = (
            Way("warmside", WARMSIDE, "PLAIN", self.credential),
            Way("jwt", JWT, "PLAIN", lambda user, seconds: json_web_token(self.key, f"{user}@{JWT}", seconds)),
            Way("oauth_issue_token", OAUTH, "X-OAUTH2", self.oauth_token),
        )

    def credential(self, user: str, seconds: int) -> str:
        """Return a one-time password."""
        reply = self.server.post("/credentials", jid=f"{user}@{WARMSIDE}")
        assert reply.status == 200, reply.body
        return str(reply.json()["password"])

    def oauth_token(self, user: str, seconds: int) -> str:
        """Return a token of ejabberd's for a registered account."""
        answer = self.server.command("oauth_issue_token", jid=f"{user}@{OAUTH}", ttl=seconds, scopes="sasl_auth")
        return str(answer["token"])

    def register(self, way: Way, user: str) -> None:
        """Do what the web application does at a sign-up."""
        if way.host == OAUTH:
            self.server.command("register", user=user, host=OAUTH, password=secrets.token_hex(16))
        elif way.host == WARMSIDE:
            reply = self.server.post("/users", jids=[f"{user}@{WARMSIDE}"])
            assert reply.status == 200, reply.body

    def log_in(self, way: Way, user: str, secret: str) -> BoshClient:
        """Log in over BOSH."""
        client = BoshClient(self.server.bosh, way.host)
        client.log_in(user, secret, way.mechanism)
        return client

    def accepted(self, way: Way, user: str, secret: str) -> bool:
        """Return True if a login is accepted; end its session."""
        try:
            self.log_in(way, user, secret).terminate()
        except (Refused, Terminated):
            return False
        return True

    def mechanisms(self, way: Way) -> str:
        """SASL mechanisms that the host offers."""
        return " ".join(BoshClient(self.server.bosh, way.host).mechanisms())

    def uses(self, way: Way) -> str:
        """Accepted logins of three with one secret."""
        self.register(way, "again")
        secret = way.secret("again", 3600)
        return str(sum(self.accepted(way, "again", secret) for _ in range(3)))

    def without_account(self, way: Way) -> str:
        """Log in a user that was not registered."""
        try:
            return "works" if self.accepted(way, "unregistered", way.secret("unregistered", 3600)) else "rejected"
        except AssertionError as error:
            return f"no token: {str(error)[:60]}"

    def first_message(self, way: Way) -> str:
        """Send a message before the user's first login, and log in."""
        self.register(way, "newcomer")
        self.register(way, "sender")
        sender = self.log_in(way, "sender", way.secret("sender", 3600))
        sender.presence()
        sender.message(f"newcomer@{way.host}", "welcome")
        newcomer = self.log_in(way, "newcomer", way.secret("newcomer", 3600))
        newcomer.presence()
        newcomer.ping()
        arrived = any(each.findtext("{jabber:client}body") == "welcome" for each in newcomer.arrived)
        sender.ping()
        bounced = any(each.get("type") == "error" for each in sender.arrived)
        for client in (sender, newcomer):
            client.terminate()
        return "arrives" if arrived else "bounces" if bounced else "is lost"

    def after_logout(self, way: Way) -> str:
        """Log out of the web application: do what can be done without an admin's rights over sessions."""
        self.register(way, "leaver")
        secret = way.secret("leaver", LIFETIME)
        client = self.log_in(way, "leaver", secret)
        if way.host == WARMSIDE:
            assert self.server.post("/end", jid=f"leaver@{WARMSIDE}").status == 200
        elif way.host == OAUTH:
            self.server.command("oauth_revoke_token", token=secret)
        time.sleep(LIFETIME + 1)
        try:
            alive = client.ping()
        except (Terminated, AssertionError):
            alive = False
        again = self.accepted(way, "leaver", secret)
        return f"session {'lives' if alive else 'ended'}, secret {'valid' if again else 'invalid'}"

    def revoked(self, way: Way) -> str:
        """Revoke a secret that is still valid, and use it."""
        self.register(way, "revoked")
        secret = way.secret("revoked", 3600)
        if way.host == WARMSIDE:
            self.server.post("/end", jid=f"revoked@{WARMSIDE}")
        elif way.host == OAUTH:
            self.server.command("oauth_revoke_token", token=secret)
        else:
            return "no command for it"
        return "still valid" if self.accepted(way, "revoked", secret) else "rejected"

    def duration(self, way: Way) -> str:
        """Median milliseconds from the user's name to an online session."""
        self.register(way, "timed")
        times = []
        for _ in range(LOGINS):
            begun = time.perf_counter()
            if way.host == WARMSIDE:
                reply = self.server.warm(jid=f"timed@{WARMSIDE}", wait=1)
                client = BoshClient(self.server.bosh).attach(reply.json())
            else:
                client = self.log_in(way, "timed", way.secret("timed", 3600))
            times.append(time.perf_counter() - begun)
            client.terminate()
        return f"{statistics.median(times) * 1000:.1f}"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(Path(folder))
        comparison.server.start()
        try:
            rows = {
                "mechanisms offered": comparison.mechanisms,
                "accepted of 3 logins with one secret": comparison.uses,
                "user without an account": comparison.without_account,
                "message before the first login": comparison.first_message,
                "secret after its revocation": comparison.revoked,
                f"{LIFETIME + 1} s after the web log-out": comparison.after_logout,
                f"p50 of {LOGINS} logins, ms": comparison.duration,
            }
            print("| | " + " | ".join(way.name for way in comparison.ways) + " |\n| --- | --- | --- | --- |")
            for name, measure in rows.items():
                print(f"| {name} | " + " | ".join(measure(way) for way in comparison.ways) + " |", flush=True)
        finally:
            comparison.server.stop()


if __name__ == "__main__":
    main()
