"""The code blocks of README.md and docs/, and what runs them: a shell, ejabberd, the loader, the examples."""

import json
import os
import re
import shutil
import subprocess
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markdown_it import MarkdownIt
from private_ejabberd import PrivateEjabberd, free_port

from tests.real.parts import ADMIN, PASSWORD, PYTHON, ROOT, Server, Site, until
from warmside.config import loader

EXAMPLES = ROOT / "etc/examples"
SUFFIXES = (".html", ".js", ".mjs", ".php", ".py")
"""Files of etc/examples that documents show lines of."""
MARK = re.compile(r"<!-- not run here: (\S.*\S) -->")
"""Comment before a block that is not run. Files of the repository that it names must exist."""
FILES = re.compile(r"\b(?:tests|etc|docs)/[\w./-]*\w")
ROOTED = re.compile(r"(?<![\w.:])/(?=(?:etc|opt|run|var)/)")
"""Start of a path that a test keeps inside its folder."""
LEFT_OUT = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist")
CURLRC = 'silent\nshow-error\nwrite-out = "%{stderr}HTTP %{http_code}\\n"\n'
UNREGISTER = """#!/bin/sh
# ejabberdctl reaches only a node with a name; this one calls the same command over HTTP.
[ "$1 $#" = "unregister 3" ] || exit 2
exec curl --fail -o /dev/null --json "{\\"user\\": \\"$2\\", \\"host\\": \\"$3\\"}" http://127.0.0.1:%s/api/unregister
"""
COMMAND = """#!/bin/sh
command=$1
case $command in
    announce) shift; exec %(real)s announce --config %(toml)s "$@" ;;
    check) shift; exec %(real)s check --config %(toml)s --ejabberd %(yml)s "$@" ;;
esac
exec %(real)s "$@"
"""


class Block(NamedTuple):
    """A code block of a document.

    :param reason: why it is not run; ``None`` if it has to run.
    """

    document: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def name(self) -> str:
        """The place of the block, for messages."""
        return f"{self.document}:{self.line}"


def blocks_of(document: str, text: str) -> list[Block]:
    """Return every fenced and indented code block, in order."""
    blocks, comment = [], ""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("fence", "code_block"):
            marked = MARK.fullmatch(comment.strip())
            line = (token.map or [0])[0] + 1
            blocks.append(Block(document, line, token.info.strip(), token.content, marked and marked[1]))
        comment = token.content if token.type == "html_block" else ""
    return blocks


def all_blocks() -> list[Block]:
    """Return the blocks of every document of the repository."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [block for path in paths for block in blocks_of(str(path.relative_to(ROOT)), path.read_text())]


class Runner:
    """Runs blocks. Ports, passwords and paths of the documents become those of a running server and a folder.

    An installation runs once, also if several documents have it.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.outputs: dict[Block, str] = {}
        self.statuses: dict[Block, list[int]] = {}
        self._installed: set[str] = set()
        self._environ = server.environ | {
            "HOME": str(folder),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}",
            # The package of this checkout is built and installed; the rest is that of this environment.
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads 0 as: no isolation
            "PIP_NO_COMPILE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        for name in ("bin", "etc/warmside", "etc/tmpfiles.d", "opt/old"):
            (folder / name).mkdir(parents=True)
        for name in ("passwd", "group"):
            shutil.copy(f"/etc/{name}", folder / "etc" / name)
        (folder / ".curlrc").write_text(CURLRC)
        program = folder / "opt/old/extauth.py"
        program.write_text(f"#!{PYTHON}\n")
        program.chmod(0o755)
        yml = server.folder / "ejabberd" / "ejabberd.yml"
        self._script("bin/warmside", COMMAND % {"real": PYTHON.with_name("warmside"), "toml": server.toml, "yml": yml})
        self._script("bin/ejabberdctl", UNREGISTER % server.api)
        self._script("bin/systemd-tmpfiles", f'#!/bin/sh\nexec /usr/bin/systemd-tmpfiles --root={folder} "$@"\n')
        shutil.copytree(ROOT, folder / "warmside", ignore=LEFT_OUT)

    def _script(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def run(self, block: Block, before: Block | None) -> None:
        """Run a block.

        :param before: the block before it, whose output a reply is compared with.
        :raises AssertionError: the block is wrong, or nothing runs its language.
        """
        if block.reason is not None:
            missing = [name for name in FILES.findall(block.reason) if not (ROOT / name).exists()]
            assert not missing, f"{block.name}: the reason names {missing}, which is missing"
            return
        run: Callable[[Block], None] | None = getattr(self, f"run_{block.language}", None)
        if block.language == "json":
            self.compare(block, before)
        elif block.language in ("js", "html", "python", "php"):
            find_excerpt(block)
        else:
            assert run, f"{block.name}: nothing runs the language {block.language!r}: see tests/real/documents.py"
            run(block)

    def replaced(self, text: str) -> str:
        """Return a text with this server's ports, password and paths."""
        text = text.replace("/opt/warmside/bin/warmside ", "warmside ")
        text = ROOTED.sub(f"{self.folder}/", text)
        text = text.replace("127.0.0.1:5281", f"127.0.0.1:{self.server.port}")
        text = text.replace(".venv/bin/python", str(PYTHON))
        if os.geteuid() != 0:  # only root may give files away
            text = text.replace("-o root -g ejabberd ", "").replace("root:ejabberd", f":{os.getegid()}")
        return text.replace(f"{ADMIN}:PASSWORD", f"'{ADMIN}:{PASSWORD}'")

    def run_sh(self, block: Block) -> None:
        """Run the lines in bash. The password is on stdin. Record stdout and the statuses of curl.

        :raises AssertionError: a command fails.
        """
        if block.text in self._installed:
            return
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.replaced(block.text)],
            cwd=self.folder, env=self._environ, input=PASSWORD + "\n", capture_output=True, text=True, timeout=90,
            check=False,
        )  # fmt: skip
        self.statuses[block] = [int(status) for status in re.findall(r"^HTTP (\d+)$", done.stderr, re.M)]
        assert done.returncode == 0, f"{block.name}: status {done.returncode}\n{done.stdout}{done.stderr}"
        self.outputs[block] = done.stdout
        if "pip install" in block.text:
            self._installed.add(block.text)

    def succeeded(self, block: Block, after: Block | None) -> None:
        """Check the HTTP statuses of a block: 2xx, or the status that the reply behind it shows.

        :raises AssertionError: there is another one.
        """
        shown = json.loads(after.text).get("status") if after and after.language == "json" else None
        wrong = [each for each in self.statuses.get(block, ()) if each // 100 != 2 and each != shown]
        assert not wrong, f"{block.name}: HTTP status {wrong}"

    def compare(self, block: Block, before: Block | None) -> None:
        """Compare a reply in a document with the reply of the command before it: the same keys and types.

        :raises AssertionError: they differ.
        """
        assert before and before.language == "sh", f"{block.name}: no command before the reply"
        if before not in self.outputs:
            self.run_sh(before)
        compare(json.loads(block.text), json.loads(self.outputs[before]), block.name)

    def run_toml(self, block: Block) -> None:
        """Read the block as the configuration, with an admin unless it has one.

        :raises warmside.config.loader.ConfigError: it is wrong.
        """
        text = self.replaced(block.text)
        if "[admins]" not in text:
            text += f'\n[admins]\nfile = "{self.server.admins}"\n'
        path = self.folder / "block.toml"
        path.write_text(text)
        loader.load(path)

    def run_yaml(self, block: Block) -> None:
        """Start ejabberd with the sample, in which the block replaces or adds keys, and listeners by port.

        :raises private_ejabberd.EjabberdFailed: it does not start.
        """
        settings = merged(yaml.safe_load((ROOT / "etc/ejabberd.yml").read_text()), yaml.safe_load(block.text))
        ports = {listener["port"]: free_port() for listener in settings["listen"]}
        for listener in settings["listen"]:
            listener |= {"port": ports[listener["port"]], "ip": "127.0.0.1"}
        folder = self.folder / f"ejabberd-{block.line}"
        folder.mkdir()
        site, toml = Site(free_port()), folder / "warmside.toml"
        listen = f"tcp:{site.port}:interface=127.0.0.1"
        toml.write_text(f'[admins]\nfile = "{self.server.admins}"\n[http]\nlisten = "{listen}"\n')
        command = settings["extauth_program"].replace("/opt/warmside/bin/python", str(PYTHON))
        settings["extauth_program"] = command.replace("/etc/warmside/warmside.toml", str(toml))
        ejabberd = PrivateEjabberd(folder, yaml.safe_dump(settings), ports[5282])
        try:
            ejabberd.start(environ=self.server.environ | {"RUNTIME_DIRECTORY": f"{folder}/run"})
            until(lambda: "is started in the node" in ejabberd.log.read_text())
            if " relay " not in command:  # a relay serves no HTTP
                until(site.serves, within=30)
        finally:
            ejabberd.stop()


def merged(sample: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of ejabberd with the keys of a block."""
    result = sample | block
    for key, value in block.items():
        if key == "listen":
            ports = {listener["port"] for listener in value}
            result[key] = [each for each in sample[key] if each["port"] not in ports] + value
        elif isinstance(value, dict):
            result[key] = sample.get(key, {}) | value
    return result


def compare(shown: Any, real: Any, place: str) -> None:
    """Compare keys and types.

    :param place: where the shown value is, for the message.
    :raises AssertionError: they differ.
    """
    if isinstance(shown, dict) and isinstance(real, dict):
        assert sorted(shown) == sorted(real), f"{place}: keys {sorted(shown)}, but the reply has {sorted(real)}"
        for key, value in shown.items():
            compare(value, real[key], f"{place}: {key}")
    elif isinstance(shown, list) and isinstance(real, list):
        if shown and real:
            compare(shown[0], real[0], place)
    else:
        number = (int, float)
        same = type(shown) is type(real) or (isinstance(shown, number) and isinstance(real, number))
        assert same, f"{place}: {shown!r}, but the reply has {real!r}"


def find_excerpt(block: Block) -> None:
    """Find the whole lines of a block in a file of etc/examples that a test runs, itself or in a page or a program.

    The block may be indented less.

    :raises AssertionError: there is none.
    """
    holders = {name for name, text in examples().items() if has_lines(text, block.text)}
    assert holders, f"{block.name}: no file of etc/examples has these lines"
    assert holders & tested_examples(), f"{block.name}: no test runs {holders}"


def has_lines(text: str, excerpt: str) -> bool:
    """Return True if a text has the lines of an excerpt, whatever their common indentation."""
    lines, wanted = text.splitlines(), textwrap.dedent(excerpt).rstrip("\n")
    count = len(wanted.splitlines())
    return any(textwrap.dedent("\n".join(lines[at : at + count])) == wanted for at in range(len(lines)))


def examples() -> dict[str, str]:
    """Return the contents of the files of etc/examples, by the file's name."""
    return {path.name: path.read_text() for path in EXAMPLES.rglob("*.*") if path.suffix in SUFFIXES}


def tested_examples() -> set[str]:
    """Return the names of the files of etc/examples that tests name, and of those that these files name."""
    contents = examples()
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py") if "document" not in path.name]
    found: set[str] = set()
    while texts:
        text = texts.pop()
        named = {name for name in contents.keys() - found if name in text}
        found |= named
        texts += [contents[name] for name in named]
    return found
