"""Extauth program with the faults of third-party programs.

Accepts the password ``right`` and users whose names begin with ``known``. Some other user names make it
misbehave. It appends each request to the file that is its first argument. With ``--hang`` it reads no
request, and appends its process ID.
"""

import os
import struct
import sys
import time
from pathlib import Path


def read_exactly(number: int) -> bytes:
    data = sys.stdin.buffer.read(number)
    if len(data) < number:
        raise SystemExit(0)
    return data


def main() -> None:
    notes = Path(sys.argv[1])
    if "--hang" in sys.argv:
        with notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(60)
    while True:
        request = read_exactly(struct.unpack("!H", read_exactly(2))[0])
        with notes.open("ab") as file:
            file.write(request + b"\n")
        operation, user, *rest = request.split(b":", 3)
        if user == b"die" or (user == b"dieonce" and notes.read_bytes().count(b"dieonce") == 1):
            raise SystemExit(3)
        if user == b"slow":
            time.sleep(60)
        if user == b"rubbish":
            sys.stdout.buffer.write(b"Traceback (most recent call last)\n")
        if user == b"twice":
            sys.stdout.buffer.write(b"\0\2\0\0")
        right = operation in (b"auth", b"setpass", b"tryregister", b"removeuser3", b"certauth") and rest[1:] == [
            b"right"
        ]
        known = operation in (b"isuser", b"removeuser") and user.startswith(b"known")
        sys.stdout.buffer.write(b"\0\2\0\1" if right or known else b"\0\2\0\0")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
