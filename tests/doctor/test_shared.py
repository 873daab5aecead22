"""``warmside check`` names a Redis that is away or refused. Each cure is followed where it is a command."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock

from twisted.trial.unittest import TestCase

from tests.doctor import cures
from tests.redisserver import RedisServer
from warmside.config.loader import load
from warmside.doctor.context import Context, Options
from warmside.doctor.shared import shared_redis
from warmside.findings import Finding
from warmside.store import redisopen

SECRET = "hunter2hunter2"


class SharedRedis(TestCase):
    """Each test has a configuration with ``shared.url``."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(mkdtemp())
        self.config = self.folder / "warmside.toml"
        self.password = self.folder / "password"

    def redis(self, *options: str) -> RedisServer:
        """Start a server that ends with the test."""
        server = RedisServer(*options).start()
        self.addCleanup(server.stop)
        self.write(server.url)
        return server

    def write(self, url: str, more: str = "") -> None:
        """Write the configuration."""
        self.config.write_text(f'[admins]\nfile = "/x"\n[shared]\nurl = "{url}"\n{more}')

    async def found(self) -> list[Finding]:
        """Return the findings of the check; nothing is left unseen."""
        context = Context(Options(self.config), load(self.config))
        found = list(await shared_redis(context))
        self.assertEqual(context.unseen, [])
        return found

    async def says(self) -> str:
        """Return the text of the only finding."""
        (finding,) = await self.found()
        self.assertEqual((finding.name, finding.severity, finding.host), ("shared", "error", None))
        self.assertTrue(finding.cure)
        return finding.says

    async def test_redis_that_may_be_used_is_no_finding_and_is_not_changed(self) -> None:
        server = self.redis()
        self.assertEqual(await self.found(), [])
        self.assertEqual(server.command("DBSIZE"), 0)

    async def test_nothing_is_shared(self) -> None:
        self.config.write_text('[admins]\nfile = "/x"\n')
        self.assertEqual(await self.found(), [])

    async def test_eviction_is_named_and_the_cure_ends_it(self) -> None:
        self.redis("--maxmemory-policy", "allkeys-lru")
        (finding,) = await self.found()
        self.assertIn("evicts: maxmemory-policy is allkeys-lru", finding.says)
        cures.apply(finding.cure)
        self.assertEqual(await self.found(), [])

    async def test_cluster_and_replica_and_scripts_without_info_are_named(self) -> None:
        self.redis("--cluster-enabled", "yes")
        self.assertIn("cluster: ", await self.says())
        server = self.redis("--replicaof", "127.0.0.1 1")
        self.assertIn("read-only: it is a replica", await self.says())
        server.command("REPLICAOF", "NO", "ONE")
        server.command("ACL", "SETUSER", "default", "-info")
        self.assertIn("no-info: a script may not call INFO", await self.says())

    async def test_redis_beyond_loopback_without_a_password_is_named(self) -> None:
        self.redis()
        with mock.patch.object(redisopen, "is_loopback", return_value=False):
            self.assertIn("open: it is not on loopback and takes commands without a password", await self.says())

    async def test_password_is_needed_and_not_shown(self) -> None:
        server = self.redis("--requirepass", SECRET)
        self.assertIn("away: it requires a password: set shared.password_file", await self.says())
        self.write(server.url, f'password_file = "{self.password}"\n')
        self.password.write_text("wrong-password-of-redis")
        (finding,) = await self.found()
        self.assertIn("away: it rejects", finding.says)
        self.assertNotIn("wrong-password-of-redis", str(finding))
        self.password.write_text(SECRET)
        self.assertEqual(await self.found(), [])

    async def test_password_that_can_not_be_read_is_unseen(self) -> None:
        self.write(self.redis().url, f'password_file = "{self.password}"\n')
        context = Context(Options(self.config), load(self.config))
        self.assertEqual(list(await shared_redis(context)), [])
        self.assertEqual(len(context.unseen), 1)

    def check(self, *options: str) -> list[dict[str, Any]]:
        """Run ``warmside check``; return the findings ``shared``."""
        command = [sys.executable, "-m", "warmside", "check", "--json", "--config", str(self.config), *options]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return [each for each in json.loads(ran.stdout)["findings"] if each["name"] == "shared"]

    def test_offline_opens_no_connection(self) -> None:
        server = self.redis()
        server.stop()
        self.assertEqual(self.check("--offline"), [])
        (finding,) = self.check()
        self.assertIn(f"shared.url: {server.url}: away: Connection was refused", finding["says"])
