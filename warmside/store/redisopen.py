"""Open a connection to Redis, and examine the instance: one that can't keep what warmside needs is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory

from warmside.config.endpoints import is_loopback
from warmside.config.settings import RedisPlace, Shared
from warmside.store.redisprotocol import Argument, Bounded, ConnectionLost, ResponseError, error_text
from warmside.tls import tls_fault, trust_policy

CONNECT_TIMEOUT = 2.0
"""Seconds for the name, the connection, TLS, the password and the examination."""
OK = "ok"

AWAY, CLUSTER, EVICTS, NO_INFO, OPEN, READ_ONLY = "away", "cluster", "evicts", "no-info", "open", "read-only"
"""Words for the faults, as ``/ready`` shows them."""
OPEN_CURE = "set requirepass, or a password of the user default, in Redis, and shared.password_file here"

EXAMINE = "return redis.call('INFO')"
"""Lua script; the stores' scripts read the same fields."""
FIELDS = ("run_id", "master_replid", "cluster_enabled", "maxmemory_policy", "role")

Password = Callable[[], str | None]
"""Returns Redis's password; ``None`` without one."""


class RedisFault(Exception):
    """Redis can't be used.

    :param word: the fault, as ``/ready`` shows it.
    :param cause: says what failed, and the fix; without any secret.
    """

    def __init__(self, word: str, cause: str) -> None:
        self.word = word
        super().__init__(f"{word}: {cause}")


@dataclass(frozen=True)
class Instance:
    """A Redis process, and the history of its data. After a failover one of both is another."""

    run_id: str
    replication_id: str


@dataclass(frozen=True)
class Opening:
    """What a connection needs.

    :param settings: the table ``[shared]`` of the configuration; its ``place`` is set.
    :param password: called for each connection.
    """

    reactor: Any
    settings: Shared
    password: Password

    async def open(self, protocol: Bounded) -> Instance:
        """Connect, authenticate, and examine the instance. The connection is closed after an error.

        :raises RedisFault: Redis is away, or must not be used.
        """
        opening = Deferred.fromCoroutine(self._open(protocol))
        opening.addTimeout(CONNECT_TIMEOUT, self.reactor)
        try:
            return await opening
        except TimeoutError:
            hint = " to TLS: if the port does not speak TLS, use redis: in shared.url" if self.place.tls else ""
            raise RedisFault(AWAY, f"no response within {CONNECT_TIMEOUT:g} s{hint}") from None

    async def _open(self, protocol: Bounded) -> Instance:
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        try:
            await self._endpoint().connect(factory)
        except (CancelledError, ConnectingCancelledError):
            raise RedisFault(AWAY, f"no connection within {CONNECT_TIMEOUT:g} s") from None
        except Exception as error:
            raise RedisFault(AWAY, error_text(error).rstrip(".")) from None
        try:
            return await self._greet(protocol)
        except ConnectionLost:
            fault = tls_fault(await protocol.lost, "shared.url", "shared.ca_file", "redis:")
            raise RedisFault(AWAY, fault or "it closed the connection") from None
        except BaseException:
            protocol.transport.abortConnection()
            raise

    def _endpoint(self) -> IStreamClientEndpoint:
        place = self.place
        if place.path is not None:
            return UNIXClientEndpoint(self.reactor, str(place.path), timeout=CONNECT_TIMEOUT)
        endpoint = HostnameEndpoint(self.reactor, place.host, place.port, timeout=CONNECT_TIMEOUT)
        if not place.tls:
            return endpoint
        policy = trust_policy(self.settings.ca_file)
        return wrapClientTLS(policy.creatorForNetloc(place.host.encode("ascii"), place.port), endpoint)

    @property
    def place(self) -> RedisPlace:
        """The place where Redis listens."""
        assert self.settings.place is not None
        return self.settings.place

    async def _greet(self, protocol: Bounded) -> Instance:
        """Send all commands at once, so that a distant server costs one round trip."""
        password, place = self.password(), self.place
        commands: dict[str, tuple[Argument, ...]] = {"ping": ("PING",)}
        if password is not None:
            commands["auth"] = ("AUTH", place.user, password) if place.user else ("AUTH", password)
        commands["examine"] = ("EVAL", EXAMINE, 0)
        if place.database:
            commands["select"] = ("SELECT", place.database)
        sent = [protocol.send(*command) for command in commands.values()]
        results = await DeferredList(sent, consumeErrors=True)
        found = {name: result if good else result.value for name, (good, result) in zip(commands, results, strict=True)}
        if isinstance(found["ping"], ResponseError) and str(found["ping"]).startswith("DENIED"):  # then it hangs up
            raise RedisFault(OPEN, f"it has no password, and its protected mode rejects other machines: {OPEN_CURE}")
        for each in found.values():
            if isinstance(each, Exception) and not isinstance(each, ResponseError):
                raise each
        peer = protocol.transport.getPeer()
        if place.path is None and not is_loopback(peer.host) and _takes_commands(found["ping"]):
            raise RedisFault(OPEN, f"it is not on loopback and takes commands without a password: {OPEN_CURE}")
        _check_auth(found.get("auth"))
        instance = instance_of(found["examine"])
        if isinstance(found.get("select"), ResponseError):
            raise RedisFault(AWAY, f"database {place.database}: {error_text(found['select'])}")
        return instance


def _takes_commands(reply: object) -> bool:
    """Return True if the reply to a command before ``AUTH`` means that Redis takes commands without a password.

    ``NOPERM`` is the reply to a user default who needs no password and may not send this command, but others.
    """
    return not isinstance(reply, ResponseError) or str(reply).startswith("NOPERM")


def _check_auth(reply: object) -> None:
    if not isinstance(reply, ResponseError):
        return
    text = str(reply)
    if "without any password configured" in text:
        raise RedisFault(AWAY, "it has no password: remove shared.password_file, or set requirepass in Redis")
    # The text of another error may have the password.
    code = text.split(" ", 1)[0] if text.startswith(("WRONGPASS", "NOPERM", "LOADING")) else "AUTH failed"
    raise RedisFault(AWAY, f"it rejects the user of shared.url or the password of shared.password_file ({code})")


def instance_of(reply: object) -> Instance:
    """Return the instance that an examination found.

    :param reply: the reply to `EXAMINE`.
    :raises RedisFault: it must not be used.
    """
    if isinstance(reply, ResponseError):
        raise _examination_fault(error_text(reply))
    lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    missing = [name for name in FIELDS if not fields.get(name)]
    if missing:
        raise RedisFault(NO_INFO, f"INFO does not show {', '.join(missing)}: give warmside a Redis that shows them")
    if fields["cluster_enabled"] != "0":
        raise RedisFault(CLUSTER, "it is a Redis Cluster: give the address of a single primary")
    if fields["role"] != "master":
        raise RedisFault(READ_ONLY, "it is a replica: give the address of the primary, or a name that follows it")
    policy = fields["maxmemory_policy"]
    if policy != "noeviction":
        cure = "set maxmemory-policy noeviction"
        raise RedisFault(
            EVICTS, f"maxmemory-policy is {error_text(policy)}, so Redis drops what it has to keep: {cure}"
        )
    return Instance(fields["run_id"], fields["master_replid"])


def _examination_fault(text: str) -> RedisFault:
    if text.startswith("NOAUTH"):
        return RedisFault(AWAY, "it requires a password: set shared.password_file")
    if "MASTERDOWN" in text:
        return RedisFault(READ_ONLY, "it is a replica without its primary: give the address of the primary")
    if text.startswith(("LOADING", "BUSY", "OOM")):
        return RedisFault(AWAY, text)
    cure = "allow EVAL, EVALSHA and INFO in the ACL of the user, or take a Redis whose scripts may call INFO"
    return RedisFault(NO_INFO, f"a script may not call INFO ({text}): {cure}")


def state_after(text: str) -> str | None:
    """Return the state in which an error of a command leaves the connection; ``None`` if it can be used further.

    :param text: the error of Redis.
    """
    if "READONLY" in text or "MASTERDOWN" in text:
        return f"{READ_ONLY}: it is a replica"
    if text.startswith(("LOADING", "NOAUTH")):
        return f"{AWAY}: {text}"
    if text.startswith(("MOVED", "ASK ", "CLUSTERDOWN", "CROSSSLOT")):
        return f"{CLUSTER}: it is a Redis Cluster"
    return None
