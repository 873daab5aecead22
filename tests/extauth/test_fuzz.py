"""Random frames: each gets one response, and the process does not end."""

import os
import random
import subprocess
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from tests.extauth.support import WARMSIDE, frame
from warmside.extauth.frames import REJECTED
from warmside.extauth.handlers import OneTimeAuthority, UsersAuthority
from warmside.extauth.protocol import ExtauthProtocol
from warmside.otp import PREFIX
from warmside.store.sqlite import SQLiteStore
from warmside.store.users import ConstantUsers

HASH = "$2b$04$kyJsznY2X3rSJNsUrhJ7hO0rMy82dkH52dfbwD.zBH6cFziE94EKG"
OPERATIONS = [b"auth", b"isuser", b"setpass", b"tryregister", b"removeuser", b"removeuser3", b"certauth", b"", b"AUTH"]
PIECES = [
    b"",
    b"juliet",
    b"example.org",
    b"\0",
    b":",
    b"\xff\xfe",
    "j\u00fcliet".encode(),
    PREFIX.encode(),
    b"@",
    b"/",
    b"%",
]

payloads = st.one_of(
    st.binary(max_size=200),
    st.builds(b":".join, st.lists(st.sampled_from(OPERATIONS + PIECES), max_size=8)),
    st.builds(lambda operation, rest: operation + b":" + rest, st.sampled_from(OPERATIONS), st.binary(max_size=300)),
)


def connected() -> tuple[ExtauthProtocol, StringTransport]:
    handler = OneTimeAuthority(SQLiteStore(None), UsersAuthority(ConstantUsers(everyone=False)))
    protocol, transport = ExtauthProtocol(lambda: handler), StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    return protocol, transport


@settings(max_examples=300, deadline=None)
@given(st.lists(payloads, max_size=12), st.randoms(use_true_random=False))
@example([b""], random.Random(1))
@example([b"x" * 0xFFFF], random.Random(1))
@example([b":" * 0xFFFF], random.Random(1))
@example([b"auth:" + b"\0" * 0xFF00], random.Random(1))
@example([b"auth:a:b:" + PREFIX.encode() + b"x" * 0xFF00], random.Random(1))
def test_every_frame_gets_one_response_wherever_it_is_cut(requests: list[bytes], rng: random.Random) -> None:
    protocol, transport = connected()
    data = b"".join(map(frame, requests))
    while data:
        cut = rng.randint(1, min(len(data), 5000))
        protocol.dataReceived(data[:cut])
        data = data[cut:]
    assert transport.value() == REJECTED * len(requests)
    assert not transport.disconnecting


def test_frames_cut_at_every_byte() -> None:
    data = b"".join(map(frame, [b"auth:juliet:example.org:pa:ss", b"", b"isuser:juliet:example.org", b"nonsense"]))
    for cut in range(len(data) + 1):
        protocol, transport = connected()
        protocol.dataReceived(data[:cut])
        protocol.dataReceived(data[cut:])
        assert transport.value() == REJECTED * 4, cut


def random_payload(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(100))
    if kind == 1:
        return b":".join(rng.choice(OPERATIONS + PIECES) for _ in range(rng.randrange(8)))
    if kind == 2:
        return rng.choice(OPERATIONS) + b":" + rng.randbytes(rng.randrange(50))
    return (
        rng.randbytes(rng.choice([0, 1, 2, 1000, 0xFFFF])) if rng.random() < 0.02 else b"auth:u:h:" + rng.randbytes(9)
    )


def test_ten_thousand_random_frames_do_not_end_the_process(tmp_path: Path) -> None:
    rng = random.Random(11)
    admins = tmp_path / "admins"
    admins.write_text(f"webapp:{HASH}\n")
    admins.chmod(0o600)
    configuration = tmp_path / "warmside.toml"
    configuration.write_text(
        f"""
        admins.file = "{admins}"
        http.listen = "tcp:0:interface=127.0.0.1"
        extauth.users = "none"
        """
    )
    folders = {"RUNTIME_DIRECTORY": str(tmp_path / "runtime"), "STATE_DIRECTORY": str(tmp_path / "state")}
    done = subprocess.run(
        [WARMSIDE, "extauth", "--config", configuration],
        input=b"".join(frame(random_payload(rng)) for _ in range(10_000)),
        capture_output=True,
        env=os.environ | folders,
        check=True,
        timeout=60,
    )
    assert done.stdout == REJECTED * 10_000
    assert b"Traceback" not in done.stderr
