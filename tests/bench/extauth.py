"""Benchmark of the extauth protocol: responses per second, pipelined and one by one as from ejabberd.

    .venv/bin/python -m tests.bench.extauth [--requests N]

The first line is a bare Twisted echo on the same kind of pipe; the last column compares with it.
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
from warmside.extauth.frames import ACCEPTED, REJECTED
from warmside.otp import PREFIX

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
def read_exactly(number):
    data = b""
    while len(data) < number:
        more = os.read(0, number - len(data))
        if not more:
            raise SystemExit
        data += more
    return data
while True:
    request = read_exactly(struct.unpack("!H", read_exactly(2))[0])
    os.write(1, b"\\0\\2\\0\\1" if request.startswith(b"isuser") else b"\\0\\2\\0\\0")
"""


@dataclass
class Result:
    """Responses per second, pipelined and one by one, and percentiles of the latter in microseconds."""

    name: str
    pipelined: float
    one_by_one: float
    p50: float
    p99: float


def frame(payload: bytes) -> bytes:
    """Return a {packet,2} frame."""
    return struct.pack("!H", len(payload)) + payload


def pipelined(process: "subprocess.Popen[bytes]", frames: bytes, expected: int) -> tuple[float, bytes]:
    """Write all frames and read ``expected`` bytes. Return the seconds and the bytes."""
    assert process.stdin and process.stdout
    stdout, stdin = process.stdout.fileno(), process.stdin.fileno()

    def write() -> None:
        view = memoryview(frames)
        while view:
            view = view[os.write(stdin, view[:65536]) :]

    started = time.perf_counter()
    writer = threading.Thread(target=write)
    writer.start()
    read = bytearray()
    while len(read) < expected:
        data = os.read(stdout, 65536)
        assert data, "the process has ended"
        read += data
    seconds = time.perf_counter() - started
    writer.join()
    return seconds, bytes(read)


def one_by_one(process: "subprocess.Popen[bytes]", frames: list[bytes], length: int = 4) -> list[float]:
    """Return the seconds that each response took."""
    assert process.stdin and process.stdout
    stdin, stdout = process.stdin.fileno(), process.stdout.fileno()
    took = []
    for request in frames:
        started = time.perf_counter()
        os.write(stdin, request)
        response = os.read(stdout, length or len(request))
        took.append(time.perf_counter() - started)
        assert response
    return took


def measure(
    name: str, process: "subprocess.Popen[bytes]", requests: Callable[[int], list[bytes]], number: int, response: bytes
) -> Result:
    """Measure one kind of request. An empty ``response`` means an echo."""
    many = requests(number)
    frames = b"".join(many)
    seconds, read = pipelined(process, frames, 4 * number if response else len(frames))
    assert read == (response * number if response else frames), f"{name}: wrong responses"
    took = one_by_one(process, requests(number // 10), 4 if response else 0)
    quantiles = statistics.quantiles(took, n=100)
    return Result(name, number / seconds, len(took) / sum(took), quantiles[49] * 1e6, quantiles[98] * 1e6)


def wrong(number: int) -> list[bytes]:
    """Return requests with ordinary wrong passwords."""
    return [frame(b"auth:user%d:example.org:wrong-password" % (each % 1000)) for each in range(number)]


def unknown(number: int) -> list[bytes]:
    """Return requests with one-time passwords that were not minted."""
    return [frame(f"auth:user:example.org:{PREFIX}{secrets.token_urlsafe(32)}".encode()) for _ in range(number)]


def minted(store: Path) -> Callable[[int], list[bytes]]:
    """Return a function that mints one-time passwords in the store and returns their requests."""

    def requests(number: int) -> list[bytes]:
        passwords = [f"{PREFIX}{secrets.token_urlsafe(32)}".encode() for _ in range(number)]
        database = sqlite3.connect(store)
        with database:
            database.executemany(
                "INSERT INTO passwords (digest, jid, expires) VALUES (?, 'user@example.org', ?)",
                [(hashlib.sha256(password).digest(), time.time() + 3600) for password in passwords],
            )
        database.close()
        return [frame(b"auth:user:example.org:" + password) for password in passwords]

    return requests


@contextmanager
def running(command: list[object], folder: Folder | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a process with pipes until the block ends."""
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


def wait_until_ready(process: "subprocess.Popen[bytes]", request: bytes, response: bytes) -> None:
    """Wait until a request gets the response of a service that has started."""
    until(lambda: pipelined(process, request, 4)[1] == response)


def kinds(store: Path) -> list[tuple[str, Callable[[int], list[bytes]], bytes]]:
    """Return the kinds of requests: name, requests and response."""
    return [
        ("wrong password", wrong, REJECTED),
        ("unknown one-time", unknown, REJECTED),
        ("redeemed one-time", minted(store), ACCEPTED),
    ]


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
            wait_until_ready(direct, known, ACCEPTED)
            for kind, requests, response in kinds(store):
                results.append(measure(kind, direct, requests, number, response))
        socket = Path(path) / "runtime/extauth.sock"
        folder.write(f'[extauth]\nusers = "any"\nlisten = "unix:{socket}"\n')
        daemon = subprocess.Popen(
            [TWISTD, "-n", "warmside", "--config", folder.toml], env=folder.environ, stderr=subprocess.DEVNULL
        )
        try:
            until(socket.exists)
            with running([WARMSIDE, "relay", socket]) as relay:
                wait_until_ready(relay, known, ACCEPTED)
                for kind, requests, response in kinds(store):
                    results.append(measure(f"relay: {kind}", relay, requests, number, response))
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(20)
        program = Path(path) / "program"
        program.write_text(TRIVIAL)
        program.chmod(0o755)
        folder.write(f'[extauth]\nprogram = "{program}"\n')
        with running([WARMSIDE, "extauth", "--config", folder.toml], folder) as direct:
            wait_until_ready(direct, frame(b"isuser:user:example.org"), ACCEPTED)
            results.append(measure("extauth.program", direct, wrong, number // 10, REJECTED))
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    results = run(parser.parse_args().requests)
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
