"""The ``warmside`` command. A subcommand's modules are imported only when it is called.

``relay`` is handled before ``argparse`` is imported, because that would be a large part of its memory.
"""

import sys

from warmside import startup

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

DEFAULT_CONFIG = "/etc/warmside/warmside.toml"
EXIT_FAILED = 1
EXIT_USAGE = 2
FOR_EJABBERD = frozenset({"extauth", "relay"})
"""Subcommands that ejabberd runs."""


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command.

    With a pipe on stdin, a wrong command line does not end the process, unless it names a subcommand that ejabberd
    has no use for. ejabberd gives up BOSH for the whole server if its program exits at once.

    :param arguments: the arguments; ``None`` means those of the command line.
    :returns: the exit status: 0 for success, 1 for failed work, 2 for bad usage or configuration.
    :raises SystemExit: with 2 for bad usage, with 0 after ``--help`` and ``--version``.
    """
    if arguments is None:
        startup.prepare()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["relay"] and not {"-h", "--help"} & set(given):
        from warmside.extauth import relaycommand

        return relaycommand.run(given[1:])
    parser, commands = _parser()
    if given[:1] == ["extauth"]:
        return _extauth(parser, given)
    try:
        parsed = parser.parse_args(given)
    except SystemExit as exit_:
        command = next((each for each in given if not each.startswith("-")), None)
        if not exit_.code or command in set(commands) - FOR_EJABBERD or not startup.is_pipe(0):
            raise
        from warmside.extauth import relaycommand

        return relaycommand.reject_all("warmside", _usage_fault(given))
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return EXIT_FAILED


def _parser() -> "tuple[argparse.ArgumentParser, Collection[str]]":
    """Return the parser and the names of the subcommands."""
    import argparse

    from warmside import __version__

    parser = argparse.ArgumentParser(
        prog="warmside", description="Logs users of a web application in to ejabberd without their passwords."
    )
    parser.add_argument("--version", action="version", version=f"warmside {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    extauth = commands.add_parser(
        "extauth",
        help="the program for ejabberd's extauth_program",
        description="Serves HTTP, and answers ejabberd's extauth requests on stdin and stdout until stdin ends.",
    )
    extauth.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s")

    relay = commands.add_parser(
        "relay",
        help="the program for ejabberd's extauth_program beside a running daemon",
        description="Forwards ejabberd's extauth requests from stdin to a running daemon, and responses to stdout.",
    )
    relay.add_argument(
        "socket", metavar="SOCKET", help="the path of the daemon's extauth.listen, or tcp:PORT on loopback"
    )

    sample = commands.add_parser(
        "sample",
        help="print a sample file",
        description="Prints the sample file NAME, such as warmside.toml. Without NAME, prints the list of names.",
    )
    sample.add_argument("name", metavar="NAME", nargs="?")
    sample.set_defaults(run=_sample)

    announce = commands.add_parser(
        "announce",
        help="announce users, as POST /users does",
        description="Announces users in the store itself: bare JIDs, one on each line, from FILE or stdin. "
        "Run it as root or as the user of the service. Users that exist already do no harm.",
    )
    announce.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s")
    announce.add_argument("file", metavar="FILE", nargs="?", help="default: stdin")
    announce.set_defaults(run=_announce)

    check = commands.add_parser(
        "check",
        help="examine a set-up",
        description="Examines a set-up, and prints faults and cures. With JID, warms a session and ends it.",
    )
    check.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s")
    check.add_argument("--ejabberd", metavar="FILE", help="ejabberd.yml; default: that of the installed ejabberd")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument("--offline", action="store_true", help="read files alone; open no connection")
    check.add_argument("jid", metavar="JID", nargs="?", help="bare or full JID of the session")
    check.set_defaults(run=_check)

    setup = commands.add_parser(
        "setup",
        help="add warmside to an ejabberd",
        description="Prints what it would create and change, as a diff. --apply does it, --remove undoes it.",
    )
    setup.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s")
    setup.add_argument("--ejabberd", metavar="FILE", help="ejabberd.yml; default: that of the installed ejabberd")
    action = setup.add_mutually_exclusive_group()
    action.add_argument("--apply", action="store_true", help="write the files; keeps a backup of ejabberd.yml")
    action.add_argument("--remove", action="store_true", help="take the lines and files out again")
    setup.set_defaults(run=_setup)

    hash_password = commands.add_parser(
        "hash-password",
        help="hash a password for the admins file",
        description="Reads a password and prints its bcrypt hash, or with NAME a line for the admins file.",
    )
    hash_password.add_argument("name", metavar="NAME", nargs="?")
    hash_password.set_defaults(run=_hash_password)
    return parser, commands.choices


def _sample(parsed: "argparse.Namespace") -> int:
    """Print a sample as it stands in its file, or the names of all samples."""
    from warmside import samples

    paths = samples.installed()
    if parsed.name is None:
        print("\n".join(paths))
        return 0
    if parsed.name not in paths:
        print(f"warmside: no sample {parsed.name!r}: expected one of {', '.join(paths)}", file=sys.stderr)
        return EXIT_USAGE
    sys.stdout.buffer.write(paths[parsed.name].read_bytes())
    return 0


def _announce(parsed: "argparse.Namespace") -> int:
    """Announce the users of a file or of stdin."""
    from pathlib import Path

    from warmside.app.announce import run

    return run(Path(parsed.config), Path(parsed.file) if parsed.file is not None else None)


def _check(parsed: "argparse.Namespace") -> int:
    """Examine a set-up; see `warmside.doctor.command.run`."""
    from warmside.doctor.command import run

    return run(parsed)


def _setup(parsed: "argparse.Namespace") -> int:
    """Add warmside to an ejabberd; see `warmside.doctor.setup.run`."""
    from warmside.doctor.setup import run

    return run(parsed)


def _hash_password(parsed: "argparse.Namespace") -> int:
    """Print the hash of a password, or a line of the admins file."""
    from warmside.web.passwords import PasswordRefused, hash_line, read_password

    try:
        print(hash_line(read_password(), parsed.name))
    except PasswordRefused as error:
        print(f"warmside: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def _extauth(parser: "argparse.ArgumentParser", given: list[str]) -> int:
    """Run ``warmside extauth``.

    It stays up after a usage error, too, because ejabberd stops restarting a program that exits at once.
    """
    from pathlib import Path

    usage_fault = None
    config = Path(DEFAULT_CONFIG)
    try:
        config = Path(parser.parse_args(given).config)
    except SystemExit as exit_:
        # argparse has printed the error to stderr; --help exits with 0.
        if not exit_.code:
            raise
        usage_fault = _usage_fault(given)
    # From here on stdout carries only extauth responses; prints of other code go to stderr.
    from warmside.app.stdio import take_over

    streams = take_over()

    try:
        from warmside.app.program import run_extauth
    except Exception as error:
        if not startup.is_pipe(streams.requests):
            raise
        from warmside.extauth import relaycommand

        fault = f"warmside can't be loaded: {type(error).__name__}: {error}: install it again"
        return relaycommand.reject_all("warmside", fault, stdin=streams.requests, stdout=streams.responses)

    return run_extauth(config, streams, usage_fault=usage_fault)


def _usage_fault(given: "Sequence[str]") -> str:
    return f"its command line is wrong: {' '.join(given) or 'a subcommand is missing, such as extauth'}"
