"""A server for the tests that end sessions: several virtual hosts, and listeners for all kinds of clients."""

from dataclasses import dataclass
from pathlib import Path

from private_ejabberd import free_port

from tests.real.parts import Reply, Server
from tests.real.streams import Client, TcpClient, WebSocketClient

JULIET = "juliet@example.org"
HOSTS = "hosts:\n  - example.org\n"
OTHERS = ("closenew.example", "setresource.example", "nodisco.example", "limited.example")
MODULES = """  mod_disco: {}
  mod_stream_mgmt: {}
  mod_caps: {}
  mod_pubsub:
    plugins: [flat, pep]
"""
SETTINGS = """host_config:
  closenew.example:
    resource_conflict: closenew
  setresource.example:
    resource_conflict: setresource
  nodisco.example:
    modules:
      mod_bosh: {}
shaper_rules:
  max_user_sessions:
    - 3: limited
    - 200: all
acl:
  limited:
    server: limited.example
"""


@dataclass
class Ports:
    """A server, and its ports for clients."""

    server: Server
    tcp: int
    web: int

    def password(self, jid: str = JULIET) -> str:
        """Return a one-time password."""
        reply = self.server.post("/credentials", jid=jid)
        assert reply.status == 200, reply.body
        return str(reply.json()["password"])

    def client(self, kind: str) -> Client:
        """Open a stream and authenticate as juliet."""
        client = TcpClient(self.tcp) if kind == "tcp" else WebSocketClient(self.web)
        client.authenticate("juliet", self.password())
        return client

    def end(self, jid: str = JULIET) -> Reply:
        """End sessions."""
        return self.server.post("/end", jid=jid)

    def ended(self, jid: str = JULIET) -> list[str]:
        """End sessions and return them, in order; none of them is left."""
        reply = self.end(jid)
        assert reply.status == 200, reply.body
        ended = sorted(reply.json()["ended"])
        assert not set(ended) & set(self.server.command("connected_users"))
        return ended


def start(folder: Path) -> Ports:
    """Start an ejabberd with several virtual hosts and all kinds of listeners."""
    tcp, web = free_port(), free_port()
    listeners = (
        f'  - port: {tcp}\n    ip: "127.0.0.1"\n    module: ejabberd_c2s\n    max_stanza_size: 65000\n    access: c2s\n'
        f'  - port: {web}\n    ip: "127.0.0.1"\n    module: ejabberd_http\n'
        "    request_handlers:\n      /ws: ejabberd_http_ws\n"
    )
    hosts = HOSTS + "".join(f"  - {each}\n" for each in OTHERS)
    server = Server(
        folder,
        (HOSTS, hosts),
        ("acl:\n", SETTINGS),
        (
            "  mod_disco: {}\n",
            "  mod_disco: {}\n  mod_stream_mgmt: {}\n  mod_pubsub:\n    plugins: [flat, pep]\n  mod_caps: {}\n",
        ),
        listeners=listeners,
    ).start()
    return Ports(server, tcp, web)
