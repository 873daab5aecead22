"""Whatever arrives, it is answered or refused, one answer for each frame, and the process lives."""

import random
import subprocess
from pathlib import Path
from struct import pack

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from tests.real.parts import WARMSIDE
from tests.real.processes import Folder
from warmside.extauth.authorities import OneTimeAuthority, UsersAuthority
from warmside.extauth.frames import NO
from warmside.extauth.protocol import ExtauthProtocol
from warmside.otp import PREFIX
from warmside.store.sqlite import SQLiteStore
from warmside.store.users import ConstantUsers

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


def frame(payload: bytes) -> bytes:
    return pack("!H", len(payload)) + payload


def connected() -> tuple[ExtauthProtocol, StringTransport]:
    authority = OneTimeAuthority(SQLiteStore(None), UsersAuthority(ConstantUsers(everyone=False)))
    protocol, transport = ExtauthProtocol(lambda: authority), StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    return protocol, transport


@settings(max_examples=300, deadline=None)
@given(st.lists(payloads, max_size=12), st.randoms(use_true_random=False))
@example([b""], random.Random(1))
@example([b"x" * 0xFFFF], random.Random(1))
@example([b":" * 0xFFFF], random.Random(1))
@example([b"auth:" + b"\0" * 0xFF00], random.Random(1))
@example([b"auth:a:b:" + PREFIX.encode() + b"x" * 0xFF00], random.Random(1))
def test_every_frame_gets_one_answer_however_it_is_cut(questions: list[bytes], rng: random.Random) -> None:
    protocol, transport = connected()
    data = b"".join(map(frame, questions))
    while data:
        cut = rng.randint(1, min(len(data), 5000))
        protocol.dataReceived(data[:cut])
        data = data[cut:]
    assert transport.value() == NO * len(questions)
    assert not transport.disconnecting


def test_frames_cut_at_every_byte() -> None:
    data = b"".join(map(frame, [b"auth:juliet:example.org:pa:ss", b"", b"isuser:juliet:example.org", b"nonsense"]))
    for cut in range(len(data) + 1):
        protocol, transport = connected()
        protocol.dataReceived(data[:cut])
        protocol.dataReceived(data[cut:])
        assert transport.value() == NO * 4, cut


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


def test_ten_thousand_random_frames_leave_the_process_alive(tmp_path: Path) -> None:
    folder, rng = Folder(tmp_path), random.Random(11)
    folder.write('[extauth]\nusers = "none"\n')
    questions = [random_payload(rng) for _ in range(10_000)]
    data = b"".join(map(frame, questions))
    command: list[str | Path] = [WARMSIDE, "extauth", "--config", folder.toml]
    done = subprocess.run(command, input=data, capture_output=True, env=folder.environ, check=True, timeout=60)
    assert done.stdout == NO * 10_000
    assert b"Traceback" not in done.stderr
