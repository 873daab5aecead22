"""An extauth program as others write them, with the faults that such programs have.

It says yes to the password ``right`` and to users whose names begin with ``known``. Users with
other names make it misbehave. Each question is noted in the file named by its argument.
"""

import struct
import sys
import time
from pathlib import Path


def exactly(number: int) -> bytes:
    data = sys.stdin.buffer.read(number)
    if len(data) < number:
        raise SystemExit(0)
    return data


def main() -> None:
    notes = Path(sys.argv[1])
    if "--deaf" in sys.argv:
        time.sleep(60)
    while True:
        question = exactly(struct.unpack("!H", exactly(2))[0])
        with notes.open("ab") as file:
            file.write(question + b"\n")
        operation, user, *rest = question.split(b":", 3)
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
