"""What the checks of `warmside check` are given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from warmside.config.settings import Config
from warmside.doctor.ejabberd import Ejabberd
from warmside.doctor.processes import Account, Process
from warmside.jids import JID


@dataclass(frozen=True)
class Options:
    """The command line of ``warmside check``. ``ejabberd`` is ``None`` for the file of the running or installed one."""

    config: Path
    ejabberd: Path | None = None
    offline: bool = False
    jid: JID | None = None


@dataclass
class Context:
    """The set-up under examination. A part is ``None`` if it is missing or can't be read.

    ``ejabberd_process`` runs with the ``ejabberd.yml`` given; ``warmsides`` serve with the configuration given.
    ``user`` is ejabberd's, and ``service_user`` runs warmside: the same, unless ejabberd runs a relay.
    ``unseen`` collects what could not be examined, and ``notes`` what is worth knowing and no fault,
    such as the times of a session that was warmed.
    """

    options: Options
    config: Config | None = None
    ejabberd: Ejabberd | None = None
    ejabberd_process: Process | None = None
    warmsides: list[Process] = field(default_factory=list)
    user: Account | None = None
    service_user: Account | None = None
    unseen: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    progress: Callable[[str], None] = field(default=lambda _: None)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The virtual hosts of ejabberd that warmside serves, by its policy."""
        if self.ejabberd is None:
            return ()
        allowed = self.config.policy.hosts if self.config is not None else frozenset()
        return tuple(host for host in self.ejabberd.hosts if not allowed or host in allowed)

    def miss(self, what: str) -> None:
        """Record once that something could not be examined."""
        if what not in self.unseen:
            self.unseen.append(what)

    @contextmanager
    def missing_on_error(self, what: str) -> Iterator[None]:
        """Record that something could not be examined if an operating system error happens."""
        try:
            yield
        except OSError as error:
            self.miss(f"{what}: {error.strerror}")
