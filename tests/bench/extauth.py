"""What answering ejabberd costs: questions per second, pipelined and one by one as ejabberd asks.

    .venv/bin/python -m tests.bench.extauth [--questions N]

Each line is measured beside a bare Twisted echo on the same kind of pipe, in the same run.
"""

import argparse
import hashlib
import os
import secrets
import signal
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.parts import TWISTD, WARMSIDE, until
from tests.real.processes import Folder
from warmside.otp import PREFIX

YES, NO = b"\x00\x02\x00\x01", b"\x00\x02\x00\x00"

ECHO = """
import os, struct, sys
from twisted.internet import reactor, stdio
from twisted.internet.protocol import Protocol
class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
    def connectionLost(self, reason):
        if reactor.running:
            reactor.stop()
stdio.StandardIO(Echo())
reactor.run()
"""

TRIVIAL = """#!/usr/bin/env python3
import os, struct
def exactly(number):
    data = b""
    while len(data) < number:
        more = os.read(0, number - len(data))
        if not more:
            raise SystemExit
        data += more
    return data
while True:
    exactly(struct.unpack("!H", exactly(2))[0])
    os.write(1, b"\\0\\2\\0\\0")
"""


@dataclass
class Result:
    """Answers per second pipelined, and one by one with the times of single answers in microseconds."""

    name: str
    pipelined: float
    one_by_one: float
    p50: float
    p99: float


def frame(payload: bytes) -> bytes:
    """A {packet,2} frame."""
    return struct.pack("!H", len(payload)) + payload


def pipelined(process: "subprocess.Popen[bytes]", frames: bytes, expected: int) -> tuple[float, bytes]:
    """Write everything, read ``expected`` bytes; returns the seconds and what was read."""
    assert process.stdin and process.stdout
    answers, stdin = process.stdout.fileno(), process.stdin.fileno()

    def write() -> None:
        view = memoryview(frames)
        while view:
            view = view[os.write(stdin, view[:65536]) :]

    started = time.perf_counter()
    writer = threading.Thread(target=write)
    writer.start()
    read = bytearray()
    while len(read) < expected:
        data = os.read(answers, 65536)
        assert data, "it has ended"
        read += data
    seconds = time.perf_counter() - started
    writer.join()
    return seconds, bytes(read)


def one_by_one(process: "subprocess.Popen[bytes]", frames: list[bytes], length: int = 4) -> list[float]:
    """The seconds that each answer took."""
    assert process.stdin and process.stdout
    stdin, answers = process.stdin.fileno(), process.stdout.fileno()
    took = []
    for question in frames:
        started = time.perf_counter()
        os.write(stdin, question)
        answer = os.read(answers, length or len(question))
        took.append(time.perf_counter() - started)
        assert answer
    return took


def measure(
    name: str, process: "subprocess.Popen[bytes]", questions: Callable[[int], list[bytes]], number: int, answer: bytes
) -> Result:
    """Measure one kind of question; an empty ``answer`` means an echo."""
    many = questions(number)
    frames = b"".join(many)
    seconds, read = pipelined(process, frames, 4 * number if answer else len(frames))
    assert read == (answer * number if answer else frames), f"{name}: wrong answers"
    took = one_by_one(process, questions(number // 10), 4 if answer else 0)
    quantiles = statistics.quantiles(took, n=100)
    return Result(name, number / seconds, len(took) / sum(took), quantiles[49] * 1e6, quantiles[98] * 1e6)


def wrong(number: int) -> list[bytes]:
    """Ordinary wrong passwords."""
    return [frame(b"auth:user%d:example.org:wrong-password" % (each % 1000)) for each in range(number)]


def unknown(number: int) -> list[bytes]:
    """One-time passwords that nobody minted."""
    return [frame(f"auth:user:example.org:{PREFIX}{secrets.token_urlsafe(32)}".encode()) for _ in range(number)]


def minted(store: Path) -> Callable[[int], list[bytes]]:
    """One-time passwords that are right, put into the store at once."""

    def questions(number: int) -> list[bytes]:
        passwords = [f"{PREFIX}{secrets.token_urlsafe(32)}".encode() for _ in range(number)]
        database = sqlite3.connect(store)
        with database:
            database.executemany(
                "INSERT INTO passwords (digest, jid, expires) VALUES (?, 'user@example.org', ?)",
                [(hashlib.sha256(password).digest(), time.time() + 3600) for password in passwords],
            )
        database.close()
        return [frame(b"auth:user:example.org:" + password) for password in passwords]

    return questions


@contextmanager
def running(command: list[object], folder: Folder | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """A process with pipes, ended by the end of its stdin."""
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=folder.environ if folder else None,
    )
    try:
        yield process
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


def ready(process: "subprocess.Popen[bytes]", question: bytes, answer: bytes) -> None:
    """Wait until it answers so."""
    until(lambda: pipelined(process, question, 4)[1] == answer)


def kinds(store: Path) -> list[tuple[str, Callable[[int], list[bytes]], bytes]]:
    """The kinds of questions, and their answer."""
    return [("wrong password", wrong, NO), ("unknown one-time", unknown, NO), ("redeemed one-time", minted(store), YES)]


def run(number: int) -> list[Result]:
    """Measure everything."""
    results = []
    with running([sys.executable, "-c", ECHO]) as echo:
        one_by_one(echo, wrong(100), 0)
        results.append(measure("bare Twisted echo", echo, wrong, number, b""))
    with tempfile.TemporaryDirectory(prefix="warmside-bench-") as path:
        folder = Folder(Path(path))
        folder.write('[extauth]\nusers = "any"\n')
        store = Path(path) / "runtime/private/passwords.sqlite"
        known = frame(b"isuser:user:example.org")
        with running([WARMSIDE, "extauth", "--config", folder.toml], folder) as direct:
            ready(direct, known, YES)
            for kind, questions, answer in kinds(store):
                results.append(measure(kind, direct, questions, number, answer))
        socket = Path(path) / "runtime/extauth.sock"
        folder.write(f'[extauth]\nusers = "any"\nlisten = "unix:{socket}"\n')
        daemon = subprocess.Popen(
            [TWISTD, "-n", "warmside", "--config", folder.toml], env=folder.environ, stderr=subprocess.DEVNULL
        )
        try:
            until(socket.exists)
            with running([WARMSIDE, "relay", socket]) as relay:
                ready(relay, known, YES)
                for kind, questions, answer in kinds(store):
                    results.append(measure(f"relay: {kind}", relay, questions, number, answer))
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(20)
        program = Path(path) / "program"
        program.write_text(TRIVIAL)
        program.chmod(0o755)
        folder.write(f'[extauth]\nprogram = "{program}"\n')
        with running([WARMSIDE, "extauth", "--config", folder.toml], folder) as direct:
            until(lambda: (Path(path) / "runtime/private/passwords.sqlite").exists())
            time.sleep(1)
            results.append(measure("extauth.program", direct, wrong, number // 10, NO))
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=100_000)
    results = run(parser.parse_args().questions)
    print(f"{'':28}{'pipelined/s':>12}{'one by one/s':>14}{'p50 us':>8}{'p99 us':>8}{'of echo':>9}")
    for result in results:
        ratio = result.one_by_one / results[0].one_by_one
        print(
            f"{result.name:28}{result.pipelined:12.0f}{result.one_by_one:14.0f}{result.p50:8.0f}{result.p99:8.0f}"
            f"{ratio:9.0%}"
        )
    by_name = {result.name: result for result in results}
    for kind, _, _ in kinds(Path()):
        direct, relayed = by_name[kind], by_name[f"relay: {kind}"]
        print(
            f"relay keeps of {kind}: {relayed.pipelined / direct.pipelined:.0%} pipelined, "
            f"{relayed.one_by_one / direct.one_by_one:.0%} one by one"
        )


if __name__ == "__main__":
    main()
