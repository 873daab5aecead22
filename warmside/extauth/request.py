"""An extauth request: the payload of a frame from ejabberd.

The format is in ejabberd's developer guide, "External Authentication": ``OPERATION:USER:HOST``, for some
operations followed by ``:PASSWORD``. A password may hold colons.
"""

from dataclasses import dataclass, field

from warmside.jids import unicode_host
from warmside.otp import PREFIX

ONE_TIME_PREFIX = PREFIX.encode()

WITH_SECRET = frozenset({"auth", "setpass", "tryregister", "removeuser3", "certauth"})
"""Operations that carry a password or a certificate."""
WITHOUT_SECRET = frozenset({"isuser", "removeuser"})


class MalformedRequest(ValueError):
    """The payload of a frame is no request. The message holds no part of the payload."""


@dataclass(frozen=True, slots=True)
class ExtauthRequest:
    """One request.

    :param operation: from `WITH_SECRET` or `WITHOUT_SECRET`.
    :param user: local part of the JID, prepared by ejabberd; so is ``host``.
    :param secret: password or certificate. Bytes, because it may be no UTF-8; empty without a secret.
    """

    operation: str
    user: str
    host: str
    secret: bytes = field(default=b"", repr=False)

    @property
    def bare_jid(self) -> str:
        """Bare JID of the user, with its host in Unicode; ejabberd may spell it in Punycode."""
        return f"{self.user}@{unicode_host(self.host)}"

    @property
    def has_secret(self) -> bool:
        """True if the operation carries a password or a certificate."""
        return self.operation in WITH_SECRET

    @property
    def has_one_time_prefix(self) -> bool:
        """True if the secret has the prefix of one-time passwords."""
        return self.secret.startswith(ONE_TIME_PREFIX)

    @property
    def redeems(self) -> bool:
        """True if the request asks to redeem a one-time password."""
        return self.operation == "auth" and self.has_one_time_prefix

    @classmethod
    def parse(cls, payload: bytes) -> "ExtauthRequest":
        """Parse a frame's payload.

        :raises MalformedRequest: the operation is unknown or a field is missing, empty or not UTF-8.
        """
        name, *rest = payload.split(b":", 3)
        operation = name.decode("latin-1")
        if operation in WITH_SECRET:
            if len(rest) != 3:
                raise MalformedRequest("a field is missing: expected OPERATION:USER:HOST:PASSWORD")
            secret = rest.pop()
        elif operation in WITHOUT_SECRET:
            if len(rest) != 2:
                raise MalformedRequest("wrong number of fields: expected OPERATION:USER:HOST")
            secret = b""
        else:
            raise MalformedRequest("unknown operation")
        try:
            user, host = rest[0].decode(), rest[1].decode()
        except UnicodeDecodeError:
            raise MalformedRequest("user or host is not UTF-8") from None
        if not user or not host:
            raise MalformedRequest("user or host is empty")
        return cls(operation, user, host, secret)

    def to_payload(self) -> bytes:
        """Return the payload that `parse` reads."""
        fields = [self.operation.encode(), self.user.encode(), self.host.encode()]
        return b":".join([*fields, self.secret] if self.has_secret else fields)
