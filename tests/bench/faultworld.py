"""Two nodes with one Redis, each behind a proxy of its own, and the faults that can hit them.

Redis has the user of docs/CLUSTER.md with its rights, and no others.
"""

import http.client
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.real.cluster import Cluster
from tests.real.parts import ROOT, Server, until
from tests.real.proxy import SlowProxy
from tests.redisserver import RedisServer

HOLD_TIME = 8.0
"""Seconds of a fault."""
LAG_TIME = 1.5
"""Seconds for which the replica of a failover lacks what the primary got."""
ROUND_TRIP = 0.2
"""Seconds of a round trip to a slow Redis."""
USER = re.compile(r"^user warmside on >PASSWORD .*$", re.M)
"""The line of Redis's ACL in docs/CLUSTER.md."""
REQUESTS = 16
"""Requests on connections of their own that reach both processes of a node, but for one time in 30,000."""
BUILDS = ("unfenced", "get-del", "run-id")
"""Weakened builds of tests/bench/weakened.py."""


class World:
    """Two nodes and one Redis.

    :param folder: all files.
    :param build: one of `BUILDS`, or ``None`` for warmside as it is.
    """

    def __init__(self, folder: Path, build: str | None = None) -> None:
        self._closing = ExitStack()
        self._password, self._acl, self._servers = folder / "redis-password", folder / "redis.acl", list[RedisServer]()
        secret = secrets.token_hex(16)
        self._password.write_text(secret)
        self._password.chmod(0o600)
        self._acl.write_text(f"user default on nopass ~* &* +@all\n{documented_user().replace('PASSWORD', secret)}\n")
        self.redis = self._redis()
        self.proxies = [SlowProxy(self.redis.port, 0.0).__enter__() for _ in range(2)]
        for proxy in self.proxies:
            self._closing.callback(proxy.__exit__)
        weakened: tuple[tuple[str, str], ...] = ()
        if build is not None:
            os.environ["PYTHONPATH"] = str(ROOT)
            weakened = ((" -I -m warmside extauth ", f" -m tests.bench.weakened {build} extauth "),)
        self.cluster = Cluster(folder, *weakened, toml=self._toml)
        self.nodes: list[Server] = [*self.cluster.nodes]
        self._closing.callback(self.cluster.stop)

    def start(self) -> "World":
        """Start the nodes, and wait until each is ready."""
        self.cluster.start()
        self.until_ready()
        return self

    def stop(self) -> None:
        """Stop everything."""
        self._closing.close()

    def until_ready(self) -> None:
        """Wait until every part of every process of every node is ready: each request reaches one process."""
        for node in self.nodes:
            until(lambda node=node: all(ready(node) for _ in range(REQUESTS)))  # type: ignore[misc]

    def switch(self, redis: RedisServer) -> None:
        """Let the name of Redis lead to another server, as after a failover."""
        self.redis = redis
        for proxy in self.proxies:
            proxy.target = redis.port
            proxy.cut()

    def replica(self) -> tuple[RedisServer, SlowProxy]:
        """Start a replica in step with Redis; return the link between them, too."""
        replica = self._redis()
        link = SlowProxy(self.redis.port, 0.0).__enter__()
        self._closing.callback(link.__exit__)
        follow(replica, link.port)
        return replica, link

    def _redis(self) -> RedisServer:
        redis = RedisServer("--appendonly", "yes", "--aclfile", str(self._acl)).start()
        self._closing.callback(redis.stop)
        self._servers.append(redis)
        return redis

    def denied(self) -> list[str]:
        """Return what the running Redis servers have denied to the user of docs/CLUSTER.md."""
        found: list[str] = []
        for server in self._servers:
            if server.process.poll() is None:
                found += [str(dict(zip(each[::2], each[1::2], strict=True))) for each in server.command("ACL", "LOG")]
        return found

    def _toml(self, number: int) -> str:
        url = f"redis://warmside@127.0.0.1:{self.proxies[number - 1].port}"
        return f'\n[shared]\nurl = "{url}"\npassword_file = "{self._password}"\n'


def documented_user() -> str:
    """Return the line for Redis's user in docs/CLUSTER.md."""
    found = USER.findall((ROOT / "docs/CLUSTER.md").read_text())
    assert len(found) == 1, "docs/CLUSTER.md needs one line with the ACL of Redis"
    return str(found[0])


def ready(node: Server) -> bool:
    """Return True if ``/ready`` of a process answers 200."""
    with suppress(OSError, http.client.HTTPException):
        return node.request("GET", "/ready").status == 200
    return False


def follow(redis: RedisServer, port: int) -> None:
    """Let a server become a replica, and wait until it is in step."""
    redis.command("REPLICAOF", "127.0.0.1", port)
    until(lambda: redis.info("replication").get("master_link_status") == "up")


@contextmanager
def killed(world: World) -> Iterator[None]:
    """Redis is killed, and starts with its data."""
    world.redis.kill()
    yield
    world.redis.start()


@contextmanager
def restarted_empty(world: World) -> Iterator[None]:
    """Redis is killed, and starts without its data."""
    world.redis.kill()
    shutil.rmtree(world.redis.folder / "appendonlydir")
    yield
    world.redis.start()


@contextmanager
def frozen(world: World) -> Iterator[None]:
    """Redis gets SIGSTOP, and later SIGCONT."""
    world.redis.freeze()
    yield
    world.redis.thaw()


@contextmanager
def slow(world: World) -> Iterator[None]:
    """Each round trip to Redis takes 200 ms."""
    for proxy in world.proxies:
        proxy.round_trip = ROUND_TRIP
    yield
    for proxy in world.proxies:
        proxy.round_trip = 0.0


@contextmanager
def full(world: World) -> Iterator[None]:
    """Redis has reached maxmemory."""
    world.redis.command("CONFIG", "SET", "maxmemory", "100kb")
    yield
    world.redis.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def failed_over(world: World) -> Iterator[None]:
    """A replica that lacks the last seconds becomes the primary."""
    replica, link = world.replica()
    link.hold()
    time.sleep(LAG_TIME)
    world.redis.kill()
    yield
    replica.command("REPLICAOF", "NO", "ONE")
    world.switch(replica)


@contextmanager
def failed_over_and_back(world: World) -> Iterator[None]:
    """A replica that lacks the last seconds becomes the primary, and the old primary follows it and takes over."""
    first = world.redis
    replica, link = world.replica()
    link.hold()
    time.sleep(LAG_TIME)
    replica.command("REPLICAOF", "NO", "ONE")
    world.switch(replica)
    yield
    follow(first, replica.port)
    replica.kill()
    first.command("REPLICAOF", "NO", "ONE")
    world.switch(first)


@contextmanager
def cut_off(world: World) -> Iterator[None]:
    """The network between node 2 and Redis delivers nothing."""
    world.proxies[1].hold()
    yield
    world.proxies[1].release()


@contextmanager
def cut_off_and_failed_over(world: World) -> Iterator[None]:
    """The network between node 2 and Redis delivers nothing; then a replica that lacks the last seconds takes over."""
    with cut_off(world):
        time.sleep(LAG_TIME)
    with failed_over(world):
        yield


@contextmanager
def warmside_killed(world: World) -> Iterator[None]:
    """The processes of warmside at node 1 are killed; ejabberd starts them again."""
    kill(*world.nodes[0].programs())
    yield


@contextmanager
def node_killed(world: World) -> Iterator[None]:
    """Node 1 is killed, ejabberd and warmside, and starts again."""
    node = world.nodes[0]
    kill(node.ejabberd.pid, *node.programs())
    until(lambda: not node.ejabberd.running())
    yield
    node.start()


@contextmanager
def ejabberd_restarted(world: World) -> Iterator[None]:
    """Node 1 of ejabberd is stopped, and started again."""
    world.nodes[0].stop()
    yield
    world.nodes[0].start()


def kill(*processes: int) -> None:
    """Kill processes; one may have exited."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


class Fault(NamedTuple):
    """A fault.

    :param make: begins it on entry, and ends it on exit.
    :param seconds: how long it holds.
    :param down: nodes that it stops.
    """

    make: Callable[[World], AbstractContextManager[None]]
    seconds: float = HOLD_TIME
    down: frozenset[int] = frozenset()


FIRST = frozenset({1})
FAULTS = {
    "killed": Fault(killed),
    "stopped": Fault(frozen),
    "slow": Fault(slow),
    "full": Fault(full),
    "empty": Fault(restarted_empty),
    "failed-over": Fault(failed_over, 1.0),
    "failed-over-and-back": Fault(failed_over_and_back, 1.0),
    "cut": Fault(cut_off),
    "warmside-killed": Fault(warmside_killed, 0.0, FIRST),
    "node-killed": Fault(node_killed, 4.0, FIRST),
    "ejabberd-restarted": Fault(ejabberd_restarted, 4.0, FIRST),
}
