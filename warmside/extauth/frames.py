"""Frames of the extauth protocol, as Erlang's {packet,2}. Imports nothing, because the relay loads it."""

ACCEPTED = b"\x00\x02\x00\x01"
REJECTED = b"\x00\x02\x00\x00"
"""The two responses, each a whole frame."""

REPEATABLE = frozenset({"auth", "isuser", "setpass", "certauth"})
"""Operations that are safe to send twice: they change nothing, or make the same change again."""

ONE_TIME_PREFIX = b"warmside-otp-"
"""`warmside.otp.PREFIX`, which the relay does not load."""


def to_frame(payload: bytes) -> bytes:
    """Return the frame of a payload of at most 65,535 bytes."""
    return len(payload).to_bytes(2, "big") + payload


def split_frames(data: bytes) -> "tuple[list[bytes], bytes]":
    """Return the whole frames at the start of the data, and the rest."""
    frames, start, length = [], 0, len(data)
    while start + 2 <= length:
        end = start + 2 + (data[start] << 8 | data[start + 1])
        if end > length:
            break
        frames.append(data[start:end])
        start = end
    return frames, data[start:]


def is_repeatable(frame: bytes) -> bool:
    """Return True if a request is safe to send twice. ``auth`` with a one-time password is not."""
    operation, *fields = frame[2:].split(b":", 3)
    one_time = len(fields) == 3 and fields[2].startswith(ONE_TIME_PREFIX)
    return bool(fields) and operation.decode("latin-1") in REPEATABLE and not one_time
