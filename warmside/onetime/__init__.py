"""One-time passwords: minting them, and the store that says of each, once, that it is right.

This room knows nothing of HTTP, BOSH or extauth. It must never keep or show a password itself:
the store has digests.
"""

from warmside.onetime.passwords import PREFIX, OneTimePassword, has_prefix
from warmside.onetime.store import IStore, Leftover, StoreError

__all__ = ["PREFIX", "IStore", "Leftover", "OneTimePassword", "StoreError", "has_prefix"]
