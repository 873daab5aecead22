"""stdin, stdout and byte streams of twisted.internet and twisted.protocols."""

from typing import Any

from twisted.protocols.basic import Int16StringReceiver


def stdio_writer(stdio: Any) -> Any:
    """Return the descriptor that a `StandardIO` writes to; ``None`` once it is closed.

    Private: ``StandardIO._writer``. Reason: `write_now` needs the descriptor, and `StandardIO` offers no other way.
    """
    return stdio._writer


def write_now(descriptor: Any, data: bytes) -> int:
    """Write to a `FileDescriptor` in this turn of the reactor; return the number of bytes that were written.

    Nothing is written if the descriptor is closed, if the write fails or if the other side accepts no more.

    Private: ``connected`` and ``writeSomeData`` of ``FileDescriptor``, which the reactor uses. Reason: its public
    ``write`` waits for the next turn, which takes longer than most requests.
    """
    if not descriptor.connected:
        return 0
    written = descriptor.writeSomeData(data)
    return written if isinstance(written, int) else 0  # an exception instance says that the connection is lost


def unprocessed_bytes(receiver: Int16StringReceiver) -> int:
    """Return the number of bytes that a paused receiver has buffered.

    Private: ``Int16StringReceiver._unprocessed``. Reason: the buffer is bounded, and the receiver offers no size.
    """
    return len(receiver._unprocessed)
