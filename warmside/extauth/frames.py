"""What the relay, the programs and the protocol agree on. It imports nothing, for the relay's sake."""

YES = b"\x00\x02\x00\x01"
NO = b"\x00\x02\x00\x00"

REPEATABLE = frozenset({"auth", "isuser", "setpass", "certauth"})
"""Operations that may be asked twice: they change nothing, or the same thing again."""
