"""Measure the stores in Redis beside those in SQLite: time, commands and memory of a one-time password.

    .venv/bin/python -m tests.bench.redis_store [--passwords N]

One Redis process on a unix socket of this machine, and one SQLite file on a tmpfs. Each figure is the median of N
calls, one after the other.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from tests.redisserver import RedisServer
from warmside.store.interface import PasswordStore
from warmside.store.redisclient import RedisClient
from warmside.store.rediscounters import RedisFailureCounters
from warmside.store.redispasswords import RedisPasswords, SharedPasswords
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteStore

JID = "juliet@example.org"
LIFETIME = 30.0


async def median(number: int, call: Callable[[int], Any]) -> float:
    """Return the median time of a call in microseconds.

    :param call: takes the number of the call; its result may be awaitable.
    """
    taken = []
    for each in range(number):
        started = time.perf_counter()
        result = call(each)
        if isinstance(result, Awaitable):
            await result
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


async def measure(store: PasswordStore, number: int) -> dict[str, float]:
    """Return the median of each operation. Every password has a user of its own."""
    minted: list[bytes] = []

    async def mint(each: int) -> None:
        minted.append((await store.mint(f"{each}{JID}", LIFETIME)).text.encode())

    results = {"mint": await median(number, mint)}
    results["redeem, other JID"] = await median(number, lambda each: store.redeem(JID, minted[each]))
    results["redeem"] = await median(number, lambda each: store.redeem(f"{each}{JID}", minted[each]))
    results["redeem, unknown"] = await median(number, lambda each: store.redeem(f"{each}{JID}", minted[each]))
    passwords = [await store.mint(f"{each}{JID}", LIFETIME) for each in range(number)]
    results["revoke"] = await median(number, lambda each: store.revoke(passwords[each]))
    for each in range(number):
        await store.mint(f"{each}{JID}", LIFETIME)
    results["revoke_all"] = await median(number, lambda each: store.revoke_all(f"{each}{JID}"))
    return results


def commands(server: RedisServer) -> dict[str, int]:
    """Return how often Redis has run each command, those inside scripts included."""
    stats = server.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(text.split("=")[1].split(",")[0]) for name, text in stats.items()}


async def one_credential(server: RedisServer, store: RedisPasswords) -> None:
    """Print the commands and the memory of a password that is minted and redeemed."""
    server.command("CONFIG", "RESETSTAT")
    minted = await store.mint(JID, LIFETIME)
    for key in server.command("KEYS", "*"):
        used = server.command("MEMORY", "USAGE", key)
        print(f"  key of {len(key)} bytes, {server.command('OBJECT', 'ENCODING', key).decode()}: {used} bytes")
    after_mint = commands(server)
    server.command("CONFIG", "RESETSTAT")
    await store.redeem(JID, minted.text.encode())
    own = ("keys", "memory|usage", "object|encoding", "config|resetstat", "ping")
    for name, counted in (("mint", after_mint), ("redeem", commands(server))):
        print(f"  {name}: " + ", ".join(f"{each} {times}" for each, times in counted.items() if each not in own))


async def memory(server: RedisServer, store: RedisPasswords, number: int) -> None:
    """Print the memory of many passwords, each of a user of its own."""
    before = int(server.info("memory")["used_memory"])
    for each in range(number):
        await store.mint(f"{each}{JID}", 600)
    used = int(server.info("memory")["used_memory"]) - before
    print(f"  {number} passwords: {used / number:.0f} bytes each, tables of keys included")
    server.command("FLUSHDB")


async def run(reactor: Any, number: int) -> None:
    """Measure and print."""
    server = RedisServer().start()
    client = RedisClient(reactor, server.settings(unix=True))
    client.start()
    try:
        while client.state != "ok":
            await deferLater(reactor, 0.01)
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            path = Path(folder) / "passwords.sqlite"
            local, shared = SQLiteStore(path), RedisPasswords(client)
            results = [await measure(local, number), await measure(shared, number)]
            print(f"{'p50 of ' + str(number) + ' calls, us':24}{'SQLite':>8}{'Redis':>8}")
            for name in results[0]:
                print(f"{name:24}{results[0][name]:8.0f}{results[1][name]:8.0f}")
            both = SharedPasswords(local, shared)
            own = [(await local.mint(JID, LIFETIME)).text.encode() for _ in range(number)]
            took = await median(number, lambda each: both.redeem(JID, own[each]))
            print(f"{'redeem of /warm with both':24}{took:8.0f}")
            counters, shared_counters = SQLiteFailureCounters(path), RedisFailureCounters(client)
            added = await median(number, lambda each: counters.add(f"{each}", 5, 60))
            added_shared = await median(number, lambda each: shared_counters.add(f"{each}", 5, 60))
            print(f"{'count a failure':24}{added:8.0f}{added_shared:8.0f}")
            await local.close()
            counters.close()
        print("one password of /credentials:")
        server.command("FLUSHDB")
        await one_credential(server, shared)
        await memory(server, shared, number)
    finally:
        await client.close()
        server.stop()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the stores in Redis beside those in SQLite.")
    parser.add_argument("--passwords", type=int, default=3000)
    number: int = parser.parse_args().passwords
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, number)))


if __name__ == "__main__":
    main()
