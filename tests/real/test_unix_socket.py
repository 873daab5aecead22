"""``bosh.url`` with a unix socket, on a real ejabberd."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.real.boshclient import BoshClient
from tests.real.parts import Server


def test_sessions_are_warmed_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "bosh.sock"
    listener = f'  - port: "unix:{path}"\n    module: ejabberd_http\n    request_handlers:\n      /bosh: mod_bosh\n'
    host = f'[host."example.org"]\nurl = "http+unix://{path}:/bosh"\n'
    server = Server(tmp_path, toml=host, listeners=listener)
    server.start()
    try:
        with ThreadPoolExecutor(32) as pool:  # more at once than the backlog of ejabberd's socket
            replies = list(pool.map(lambda number: server.warm(jid=f"user{number}@example.org", wait=1), range(64)))
        assert [reply.status for reply in replies] == [200] * 64
        tcp = server.output().count(f"-> 127.0.0.1:{server.bosh}")
        assert tcp <= 1, "the start looks at the TCP port; logins do not use it"
        assert BoshClient(server.bosh).attach(replies[0].json()).ping(), "the browser's side is TCP"
        assert server.request("GET", "/ready").json()["connection_manager"] == "ok"
    finally:
        server.stop()
