"""The ``warmside`` command. A subcommand's modules are imported only when it is called.

``relay`` needs so little that even ``argparse`` would be a large part of it: it is looked for first.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DEFAULT_CONFIG = "/etc/warmside/warmside.toml"
EXIT_FAILED = 1
EXIT_USAGE = 2


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command.

    :param arguments: those of the command line if ``None``.
    :returns: the exit status: 0, 1 when the work failed, 2 for bad usage or configuration.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["relay"] and not {"-h", "--help"} & set(given):
        from warmside.extauth import relay

        return relay.run(given[1:])
    parser = _parser()
    if given[:1] == ["extauth"]:
        return _extauth(parser, given)
    parsed = parser.parse_args(given)
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return EXIT_FAILED


def _parser() -> "argparse.ArgumentParser":
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
        description="Serves HTTP and answers ejabberd's extauth questions on stdin and stdout until stdin ends.",
    )
    extauth.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s")

    relay = commands.add_parser(
        "relay",
        help="for ejabberd's extauth_program beside a running daemon",
        description="Carries ejabberd's extauth questions from stdin to a running daemon, and its answers to stdout.",
    )
    relay.add_argument(
        "socket", metavar="SOCKET", help="the path of the daemon's extauth.listen, or tcp:PORT on loopback"
    )

    check = commands.add_parser("check", help="not there yet", description="Examines a running set-up. Not there yet.")
    check.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s")
    check.add_argument("jid", metavar="JID", nargs="?")
    check.set_defaults(run=_not_there)

    hash_password = commands.add_parser(
        "hash-password",
        help="hash a password for the admins file",
        description="Reads a password and prints its bcrypt hash, or with NAME a line for the admins file.",
    )
    hash_password.add_argument("name", metavar="NAME", nargs="?")
    hash_password.set_defaults(run=_hash_password)
    return parser


def _not_there(parsed: "argparse.Namespace") -> int:
    print("warmside: this command is not there yet in this version", file=sys.stderr)
    return EXIT_FAILED


def _hash_password(parsed: "argparse.Namespace") -> int:
    from warmside.web.passwords import PasswordRefused, hash_line, read_password

    try:
        print(hash_line(read_password(), parsed.name))
    except PasswordRefused as error:
        print(f"warmside: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def _extauth(parser: "argparse.ArgumentParser", given: list[str]) -> int:
    """Run ``warmside extauth``; a mistyped option in ejabberd's configuration must not end it either."""
    from pathlib import Path

    usage_fault = None
    config = Path(DEFAULT_CONFIG)
    try:
        config = Path(parser.parse_args(given).config)
    except SystemExit as exit_:
        # argparse has said on stderr what is wrong; --help ends with 0.
        if not exit_.code:
            raise
        usage_fault = f"its command line is wrong: {' '.join(given)}"
    # stdout carries answers and nothing else from here on, whatever is imported or printed.
    from warmside.app.stdio import take_over

    streams = take_over()

    from warmside.app.program import run_extauth

    return run_extauth(config, streams, usage_fault=usage_fault)
