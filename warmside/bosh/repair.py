"""Repair responses of ejabberd 23.01 that are not well-formed XML."""

_STREAM_PREFIX = b" xmlns:stream='http://etherx.jabber.org/streams'"
_TERMINATED = b" type='terminate' condition='remote-stream-error'"


def as_xml(data: bytes) -> bytes:
    """Return the bytes as well-formed XML where ejabberd 23.01 sends something else.

    It rejects a banned client's session creation with doubled attributes, or without declaring the prefix ``stream``.
    """
    size = data.find(b">")
    head = data[:size]
    for written in (_STREAM_PREFIX, _TERMINATED):
        if head.count(written) == 2:
            head = head.replace(written, b"", 1)
    if data.startswith(b"<stream:error>", size + 1) and _STREAM_PREFIX not in head:
        head += _STREAM_PREFIX
    return data if len(head) == size else head + data[size:]
