"""Extauth program that accepts every password after about one second."""

import random
import sys
import time

from tests.extauth.programs import read_exactly


def main() -> None:
    while request := read_exactly(int.from_bytes(read_exactly(2), "big")):
        if request.startswith(b"auth:"):
            time.sleep(random.uniform(0.95, 1.05))
        sys.stdout.buffer.write(b"\0\2\0\1")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
