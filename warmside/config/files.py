"""Files that keys of the configuration name, and that must be usable at the start."""

import os
import shlex
import shutil
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from warmside.config.reloading import open_regular
from warmside.config.tables import Table

MAX_CA_FILE = 1 << 20
"""Bytes of a file of certificates that are read."""
MAX_SHEBANG = 256
"""Bytes of a script that are read to check its first line; Linux reads as many."""


def ca_file(table: Table, default: Path | None) -> Path | None:
    """Return the path ``ca_file``, or ``default`` if the key is absent.

    :raises ConfigError: the file has no certificate.
    """
    path = table.path("ca_file", default)
    if path is not None:
        try:
            with open_regular(path) as file:
                certificates = load_pem_x509_certificates(file.read(MAX_CA_FILE))
        except OSError as error:
            raise table.error("ca_file", f"can't be read ({error.strerror}); give a PEM file") from None
        except ValueError:
            certificates = []
        if not certificates:
            raise table.error("ca_file", "it contains no certificate; give a PEM file")
    return path


def program(table: Table) -> tuple[str, ...] | None:
    """Return the words of the command line ``program``, or ``None`` if the key is absent.

    :raises ConfigError: the program can't be run.
    """
    text = table.optional_text("program", None)
    if text is None:
        return None
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise table.error("program", f"not a command line: {str(error).lower()}") from None
    if not words or not words[0].startswith("/") or "\0" in text:
        raise table.error("program", "give the program with its absolute path, and its arguments")
    if not os.path.isfile(words[0]) or shutil.which(words[0]) is None:
        raise table.error("program", f"{words[0]} is not an executable file")
    fault = shebang_fault(Path(words[0]))
    if fault is not None:
        raise table.error("program", f"{words[0]} can't be run: {fault}")
    return tuple(words)


def shebang_fault(path: Path) -> str | None:
    """Return the reason why the kernel can't run a script, and the fix; ``None`` if it may run, or is no script."""
    try:
        with path.open("rb") as file:
            start = file.read(MAX_SHEBANG)
    except OSError:
        return None  # a program may be executable and not readable
    if start.startswith(b"\xef\xbb\xbf#!"):
        return "it begins with a byte order mark: remove the mark, so that #! comes first"
    if not start.startswith(b"#!"):
        is_text = bool(start) and all(byte >= 32 or byte in b"\t\r\n" for byte in start)
        return "it has no #! line: add one, or give the interpreter and the script" if is_text or not start else None
    line = start[2:].partition(b"\n")[0]
    if line.endswith(b"\r"):
        return "its #! line ends with CR LF: convert it, for example with sed -i 's/\\r$//'"
    interpreter = os.fsdecode(line.split()[0]) if line.split() else ""
    if not os.path.isfile(interpreter) or shutil.which(interpreter) is None:
        return f"its #! line names {interpreter!r}, which is not an executable file"
    return None
