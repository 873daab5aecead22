"""The OpenAPI description and the interface agree. `tests/real/test_openapi.py` checks it on the real service."""

import json
import re
from pathlib import Path

import pytest

import warmside.web
from tests.web.interface import Interface
from warmside.web.openapi import description
from warmside.web.problems import PROBLEMS, SASL_PROBLEMS

ROOT = Path(__file__).resolve().parents[2]


def test_every_problem_in_the_list_is_raised_and_no_other() -> None:
    source = "".join(path.read_text() for path in Path(warmside.web.__path__[0]).glob("*.py"))
    raised = set(re.findall(r'Problem\(\s*"([a-z-]+)"', source)) | set(re.findall(r'\("(otp-[a-z-]+)", [A-Z]', source))
    assert raised | set(SASL_PROBLEMS) == set(PROBLEMS)


@pytest.mark.parametrize("path", ["/warm", "/credentials"])
def test_every_described_field_is_read(interface: Interface, path: str) -> None:
    fields = description()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    for field in fields:
        response = interface.request("POST", path, data=json.dumps({"jid": "a@b", field: {}}).encode(), headers=headers)
        problem = json.loads(response.body)
        assert problem["type"] == "urn:warmside:field" and problem["field"] == field
        assert problem["detail"] != f"{field}: unknown field"


def test_every_described_path_is_known(interface: Interface) -> None:
    for path, methods in description()["paths"].items():
        for method in methods:
            assert interface.request(method.upper(), path).code not in (404, 405)


def test_every_known_path_is_described(interface: Interface) -> None:
    assert {f"/{path.decode()}" for path in interface.root.children} | {"/users/{jid}"} == set(description()["paths"])


def test_every_described_field_is_documented() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]
    text = "".join(document.read_text() for document in documents)
    for path in ("/warm", "/credentials"):
        body = description()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert [field for field in body["schema"]["properties"] if f"`{field}`" not in text] == []
