"""Notify systemd of the state of the service: sd_notify(3), for a unit of ``Type=notify``."""

import os
import socket


def notify(state: str) -> None:
    """Notify the service manager if ``NOTIFY_SOCKET`` is set; errors are ignored.

    :param state: such as ``READY=1`` or ``STOPPING=1``.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.sendall(state.encode())
        except OSError:
            pass
