"""The reference in docs/ is complete: commands, keys, fields, members, errors. Every link leads to a file."""

import re
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.test_cli import COMMANDS
from warmside.config.settings import Admins, Bosh, Extauth, Http, Log, Passwords, Policy, Shared
from warmside.findings import KINDS
from warmside.sessions.model import WarmSession
from warmside.web.fields import WARM_FIELDS
from warmside.web.problems import PROBLEMS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLES = {
    "admins": Admins, "http": Http, "bosh": Bosh, "passwords": Passwords, "extauth": Extauth, "policy": Policy,
    "log": Log, "shared": Shared,
}  # fmt: skip
MAX_README = 275
"""Lines of README.md, which is no reference."""


def rows(document: str, heading: str) -> list[tuple[str, ...]]:
    """Return the cells of the rows of the table below a header row."""
    text = (ROOT / "docs" / document).read_text()
    assert heading in text, f"{document} has no table {heading}"
    table = text.partition(heading)[2].partition("\n\n")[0]
    return [tuple(cell.strip() for cell in row.strip("|").split(" | ")) for row in table.splitlines()[2:]]


def names(cell: str) -> list[str]:
    """Return the names in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def test_every_key_of_the_configuration_is_described() -> None:
    described = [name for row in rows("CONFIGURATION.md", "| key | default | meaning |") for name in names(row[0])]
    keys = {f"{table}.{field.name}" for table, kind in TABLES.items() for field in fields(kind)}
    assert sorted(described) == sorted(keys - {"admins.narrowed", "shared.place"} | {"insecure"})


def test_every_command_is_described() -> None:
    described = [names(row[0])[0].split()[:2] for row in rows("INSTALL.md", "| command | use |")]
    assert sorted(command for program, command in described if program == "warmside") == sorted({*COMMANDS} - {"relay"})
    assert "`warmside relay SOCKET`" in (ROOT / "docs/INSTALL.md").read_text()


def test_every_field_of_a_request_is_described() -> None:
    described = [name for row in rows("HTTP.md", "| field | default | meaning |") for name in names(row[0])]
    assert sorted(described) == sorted(field.name for field in WARM_FIELDS)


def test_every_member_of_a_warm_session_is_described() -> None:
    described = [name for row in rows("HTTP.md", "| member | meaning |") for name in names(row[0])]
    assert sorted(described) == sorted(field.name for field in fields(WarmSession))


def test_every_error_is_described_with_its_status() -> None:
    described: dict[str, HTTPStatus] = {}
    for row in rows("HTTP.md", "| NAME | status | meaning |"):
        statuses = [HTTPStatus(int(each)) for each in row[1].split(", ")]
        errors = names(row[0])
        described |= dict(zip(errors, statuses * (len(errors) if len(statuses) == 1 else 1), strict=True))
    assert described == PROBLEMS


def test_every_finding_is_described_with_its_severity() -> None:
    described = {name: row[1] for row in rows("CHECK.md", "| name | severity | when |") for name in names(row[0])}
    assert described == {name: kind.severity for name, kind in KINDS.items()}


def test_the_user_of_redis_may_use_the_commands_that_warmside_sends_and_no_others() -> None:
    found = re.search(r"^user warmside .*$", (ROOT / "docs/CLUSTER.md").read_text(), re.M)
    assert found
    sources = [path.read_text() for path in (ROOT / "warmside/store").glob("*.py")]
    sources.append((ROOT / "warmside/app/shared.py").read_text())
    pattern = r"""(?:redis\.call\('|(?<!startswith)(?<!\()\(")([A-Z]{3,})['"][,)]"""
    sent = set(re.findall(pattern, "".join(sources))) - {"AUTH"}  # Redis allows AUTH always
    assert sorted(re.findall(r"\+(\w+)", found[0])) == sorted(command.lower() for command in sent)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_is_short_and_leads_to_every_document() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < MAX_README
    assert [path.name for path in DOCUMENTS[1:] if f"(docs/{path.name})" not in text] == []
