"""What ejabberd asks: the payload of a frame, as in ejabberd's developer guide, "External Authentication".

A payload is ``OPERATION:USER:HOST`` and for some operations ``:PASSWORD``, which may hold colons.
"""

from dataclasses import dataclass, field

from warmside.otp import has_prefix

WITH_SECRET = frozenset({"auth", "setpass", "tryregister", "removeuser3", "certauth"})
WITHOUT_SECRET = frozenset({"isuser", "removeuser"})


class MalformedRequest(ValueError):
    """A frame is not a question. The message holds nothing of the frame."""


@dataclass(frozen=True, slots=True)
class ExtauthRequest:
    """One question.

    ``user`` and ``host`` come prepared from ejabberd; ``secret`` is the password (or certificate),
    in bytes because nothing guarantees UTF-8, and empty for operations without one.
    """

    operation: str
    user: str
    host: str
    secret: bytes = field(default=b"", repr=False)

    @property
    def about_one_time(self) -> bool:
        """Whether it asks to redeem a one-time password."""
        return self.operation == "auth" and has_prefix(self.secret)

    @classmethod
    def parse(cls, payload: bytes) -> "ExtauthRequest":
        """Read a frame's payload.

        :raises MalformedRequest: it is none of the protocol's operations, or not well formed.
        """
        name, *rest = payload.split(b":", 3)
        operation = name.decode("latin-1")
        if operation in WITH_SECRET:
            if len(rest) != 3:
                raise MalformedRequest("fields are missing")
            secret = rest.pop()
        elif operation in WITHOUT_SECRET:
            if len(rest) != 2:
                raise MalformedRequest("it has too few or too many fields")
            secret = b""
        else:
            raise MalformedRequest("there is no such operation")
        try:
            user, host = rest[0].decode(), rest[1].decode()
        except UnicodeDecodeError:
            raise MalformedRequest("user or host is not UTF-8") from None
        if not user or not host:
            raise MalformedRequest("user or host is empty")
        return cls(operation, user, host, secret)
