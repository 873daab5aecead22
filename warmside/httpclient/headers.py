"""Headers of the HTTP client's requests, rendered once for many requests."""

from collections.abc import Mapping

from twisted.web.http_headers import Headers


class PreparedHeaders(Headers):
    """Headers that do not change.

    treq copies the headers for each request and adds ``Accept-Encoding``. These headers have it already, so that a copy
    is the same object.

    :param headers: names and values.
    :ivar lines: the headers as they are sent, each with its CRLF.
    """

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        super().__init__({name: [value] for name, value in headers.items()} | {b"Accept-Encoding": [b"gzip"]})
        self.lines = lines_of(self)

    def copy(self) -> "PreparedHeaders":
        """Return the same object."""
        return self

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Do nothing: the header is there already.

        :raises ValueError: it is not.
        """
        if value not in (self.getRawHeaders(name) or ()):
            raise ValueError(f"the header {name!r} can't be added to headers that are rendered already")


def lines_of(headers: Headers) -> bytes:
    """Return headers as they are sent, each with its CRLF."""
    return b"".join(name + b": " + value + b"\r\n" for name, values in headers.getAllRawHeaders() for value in values)
