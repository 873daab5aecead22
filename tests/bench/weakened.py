"""``warmside extauth`` that redeems shared one-time passwords wrongly, to show that tests/bench/faults.py finds it.

    python -m tests.bench.weakened unfenced|run-id|get-del extauth --config FILE

``unfenced`` redeems a password of any instance of Redis, ``run-id`` one of the same process of Redis whatever it has
been meanwhile. ``get-del`` reads the password and deletes it in two steps.
"""

import sys

from warmside.cli import main
from warmside.store import redispasswords
from warmside.store.redisclient import Script
from warmside.store.redispasswords import RedisPasswords, _jid_digest

FENCE = "if found[2] ~= run or found[3] ~= replid then"


def unfenced() -> None:
    """Compare no instance."""
    replace_fence("if false then")


def run_id() -> None:
    """Compare the process alone."""
    replace_fence("if found[2] ~= run then")


def replace_fence(condition: str) -> None:
    """Replace the condition under which a password is void."""
    text = redispasswords.REDEEM.text
    assert FENCE in text
    redispasswords.REDEEM = Script(text.replace(FENCE, condition))


def get_del() -> None:
    """Redeem in two steps: GET and DEL."""

    async def redeem(store: RedisPasswords, bare: str, name: str) -> bool:
        key = store._client.key(f"otp:{name}")
        found = await store._client.call("HGET", key, "jid")
        if found != _jid_digest(bare):
            return False
        await store._client.call("DEL", key)
        return True

    RedisPasswords._redeem = redeem  # type: ignore[method-assign,assignment]


BUILDS = {"unfenced": unfenced, "run-id": run_id, "get-del": get_del}

if __name__ == "__main__":
    BUILDS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
