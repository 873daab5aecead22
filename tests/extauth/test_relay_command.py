"""``warmside relay`` as a process."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extauth.support import WARMSIDE, frame
from warmside.extauth.frames import ACCEPTED, REJECTED

MAX_MEMORY = 4096
"""KiB that the relay may take beyond Python itself."""


def start(*command: str | Path) -> "subprocess.Popen[bytes]":
    """Start a process with pipes."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def send(process: "subprocess.Popen[bytes]", request: bytes) -> None:
    """Write a request to a process."""
    assert process.stdin
    process.stdin.write(frame(request))
    process.stdin.flush()


def response(process: "subprocess.Popen[bytes]", request: bytes) -> bytes:
    """Send a request and return the response."""
    send(process, request)
    assert process.stdout
    return process.stdout.read(4)


@pytest.mark.parametrize("arguments", [["relay"], ["relay", "a", "b"], ["relay", "--wrong"], ["relay", "relative"]])
def test_a_wrong_command_line_rejects_with_a_pipe_and_ends_without(arguments: list[str]) -> None:
    process = start(WARMSIDE, *arguments)
    done = subprocess.run([WARMSIDE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 2 and b"warmside relay: " in done.stderr and done.stdout == b""
    assert response(process, b"isuser:a:h") == REJECTED
    assert process.poll() is None
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"") and b"rejecting all extauth requests" in err


def test_help_names_the_socket() -> None:
    assert b"SOCKET" in subprocess.run([WARMSIDE, "relay", "--help"], capture_output=True, check=True).stdout


def resident(pid: int) -> int:
    """Return the KiB of memory that a process takes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_it_carries_requests_and_takes_little_more_memory_than_python(tmp_path: Path) -> None:
    """The relay imports nothing of warmside but its frames."""
    path = tmp_path / "extauth.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        bare = start(sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()")
        process = start(WARMSIDE, "relay", path)
        connection, _ = listener.accept()
    with connection:
        send(process, b"isuser:a:h")
        assert connection.recv(64) == frame(b"isuser:a:h")
        connection.sendall(ACCEPTED)
        assert process.stdout and bare.stdout
        assert process.stdout.read(4) == ACCEPTED
        bare.stdout.read(1)
        assert resident(process.pid) < resident(bare.pid) + MAX_MEMORY
        for each in (process, bare):
            each.communicate()
        assert process.returncode == 0
