"""An extauth program that accepts every password, about a second after it was asked."""

import random
import sys
import time

from tests.extauth.programs import exactly


def main() -> None:
    while question := exactly(int.from_bytes(exactly(2), "big")):
        if question.startswith(b"auth:"):
            time.sleep(random.uniform(0.95, 1.05))
        sys.stdout.buffer.write(b"\0\2\0\1")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
