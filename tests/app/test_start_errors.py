"""An error in `open` or `serve` names the configuration key, and leaves nothing open."""

import os
import socket

from tests.app.configuration import ServiceCase
from warmside.app.service import StartError
from warmside.config.loader import ConfigError


class StartErrors(ServiceCase):
    """Each test method is a coroutine."""

    async def error(self, key: str, kind: type[Exception] = StartError, *, shared: bool = True) -> str:
        """The text of the error with which `open` or `serve` fails; nothing is left open then."""
        made = self.made(shared=shared)
        with self.assertRaises(kind) as raised:
            made.open()
            await made.serve()
        text = str(raised.exception)
        self.assertTrue(text.startswith(f"{self.folder.toml}: {key}"), text)
        self.assertEqual(self.databases.open(), 0)
        self.assertEqual([sock.fileno() for sock in self.sockets], [-1] * len(self.sockets))
        return text

    async def test_a_taken_port_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            place = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            self.folder.write(listen=place)
            self.assertIn("another program listens there already", await self.error(f'http.listen = "{place}"'))
            self.folder.write(f'[extauth]\nlisten = "{place}"\n')
            await self.error(f'extauth.listen = "{place}"')

    async def test_one_port_for_two_purposes_is_an_error_in_open(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            place = f"tcp:{free.getsockname()[1]}:interface=127.0.0.1"
        self.folder.write(f'[extauth]\nlisten = "{place}"\n', listen=place)
        made = self.made(shared=False)
        with self.assertRaises(StartError) as raised:
            made.open()
        self.assertIn(f'extauth.listen = "{place}"', str(raised.exception))

    async def test_a_unix_socket_that_can_not_be_made_is_named(self) -> None:
        self.folder.write('[extauth]\nlisten = "unix:/no/such/x.sock"\n')
        await self.error('extauth.listen = "unix:/no/such/x.sock"', shared=False)
        (self.folder.path / "x.sock.lock").symlink_to(str(os.getpid()))
        self.folder.write(f'[extauth]\nlisten = "unix:{self.folder.path}/x.sock"\n')
        await self.error("extauth.listen = ", shared=False)
        self.folder.write('[extauth]\nlisten = "systemd:domain=UNIX:index=0"\n')
        await self.error("extauth.listen = ", shared=False)

    async def test_a_store_that_is_no_database_is_named_before_the_fork(self) -> None:
        self.folder.make_private()
        store = self.folder.private / "passwords.sqlite"
        store.write_text("rubbish " * 200)
        store.chmod(0o600)
        made = self.made()
        with self.assertRaisesRegex(StartError, 'passwords.store = "sqlite": .* is not a database'):
            made.open()

    async def test_a_store_that_fails_later_is_named(self) -> None:
        self.folder.make_private()
        store = self.folder.private / "passwords.sqlite"
        store.write_bytes(b"SQLite format 3\0" + b"rubbish " * 200)
        store.chmod(0o600)
        await self.error('passwords.store = "sqlite": ')

    async def test_the_file_of_known_users_is_named(self) -> None:
        self.folder.write('[extauth]\nusers_file = "/no/such/x"\n')
        await self.error('extauth.users_file = "/no/such/x": ')

    async def test_an_error_of_the_metrics_names_the_runtime_folder_and_not_the_store(self) -> None:
        self.folder.make_private()
        metrics = self.folder.private / "metrics"
        metrics.write_text("")
        self.assertNotIn("passwords.store", await self.error("runtime folder"))
        metrics.unlink()
        (metrics / "slot-0.lock").mkdir(parents=True)
        self.assertNotIn("passwords.store", await self.error("runtime folder"))

    async def test_files_that_the_configuration_names_are_read_by_open(self) -> None:
        for key, text in {
            "extauth.secret_file": 'url = "http://127.0.0.1:1/"\nsecret_file = "/no/such/secret"',
            "extauth.authority": 'authority = "no.such.thing"',
        }.items():
            self.folder.write(f"[extauth]\n{text}\n")
            await self.error(key, ConfigError)
        self.folder.write('[admin."nobody"]\nhosts = []\n')
        await self.error('admin."nobody"', ConfigError)
        self.folder.admins.unlink()
        await self.error("admins.file", ConfigError)

    async def test_several_processes_can_not_share_memory_or_a_unix_socket(self) -> None:
        self.folder.write('[passwords]\nstore = "sqlite://:memory:"\n')
        await self.error("passwords.store", ConfigError)
        self.folder.write(listen="unix:/tmp/x.sock")
        await self.error("http.listen", ConfigError)
