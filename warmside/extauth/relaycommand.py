"""The command line of ``warmside relay``, and a program that rejects every request. Standard library only."""

import socket
import sys

from warmside.extauth.relay import Relay
from warmside.startup import is_pipe

EXIT_USAGE = 2


def run(arguments: "list[str]") -> int:
    """Run the relay until stdin ends.

    :param arguments: command line after ``warmside relay``.
    :returns: exit status.
    """
    where = arguments[0] if len(arguments) == 1 and not arguments[0].startswith("-") else None
    address = None if where is None else parse_address(where)
    if where is None:
        fault = "its command line is wrong: give one SOCKET, such as /run/warmside/extauth.sock"
    elif address is None:
        fault = f"{where} is neither the path of a socket nor tcp:PORT"
    else:
        Relay(0, 1, address, f"warmside relay: {where}").run()
        return 0
    if is_pipe(0):
        return reject_all("warmside relay", fault)
    print(f"warmside relay: {fault}", file=sys.stderr)
    return EXIT_USAGE


def reject_all(name: str, fault: str, *, stdin: int = 0, stdout: int = 1) -> int:
    """Reject every extauth request until stdin ends, and log the fault once a minute.

    ejabberd gives up BOSH for the whole server if its program exits at once.

    :param name: the name of the program in log messages.
    :returns: exit status of a usage error.
    """
    Relay(stdin, stdout, None, f"{name}: rejecting all extauth requests: {fault}").run()
    return EXIT_USAGE


def parse_address(where: str) -> "tuple[int, object] | None":
    """Return the family and address of a socket, given as a path or as in ``extauth.listen``; else ``None``."""
    kind, _, rest = where.partition(":")
    if kind == "tcp":
        port = rest.partition(":")[0]
        return (socket.AF_INET, ("127.0.0.1", int(port))) if port.isdigit() and int(port) < 65536 else None
    path = rest.partition(":")[0] if kind == "unix" else where
    return (socket.AF_UNIX, path) if path.startswith("/") else None
