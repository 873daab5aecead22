"""The description of the interface, held against the real service."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from tests.real.parts import ROOT, Server, basic
from warmside.web.openapi import description
from warmside.web.replies import PROBLEMS

schema = schemathesis.openapi.from_dict(description())

WRONG_BY_DESIGN = {
    "missing_required_header",  # the header is put in below, whatever the case has
    "ignored_auth",  # guesses wrong passwords by the hundred, which is slowed down here
    "positive_data_acceptance",  # a JSON schema can't say what a JID is, or an IP address
}


def test_it_is_served_as_it_is(server: Server) -> None:
    reply = server.request("GET", "/openapi.json")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/json"
    assert json.loads(reply.body) == json.loads(json.dumps(description()))


def test_every_problem_that_is_raised_is_in_the_list_and_every_one_of_the_list_is_raised() -> None:
    source = "".join(path.read_text() for path in (ROOT / "warmside/web").glob("*.py"))
    raised = set(re.findall(r'Problem\(\s*"([a-z-]+)"', source)) | set(
        re.findall(r'\("(otp-[a-z-]+)", [A-Z_]+\)', source)
    )
    assert raised == set(PROBLEMS)


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_what_comes_back_is_what_is_described(case: Any, server: Server) -> None:
    case.headers = {**(case.headers or {}), "Authorization": basic()}
    for name in ("Origin", "Sec-Fetch-Site"):
        case.headers.pop(name, None)
    response = case.call(base_url=f"http://127.0.0.1:{server.port}")
    checks = [check for check in CHECKS.get_all() if check.__name__ not in WRONG_BY_DESIGN]
    case.validate_response(response, checks=checks)


@pytest.mark.parametrize("path", ["/warm", "/credentials"])
def test_a_field_that_is_described_is_a_field_that_is_read(server: Server, path: str) -> None:
    fields = description()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
    for field in fields:
        reply = server.request("POST", path, json.dumps({field: {}}).encode(), headers)
        assert (
            reply.json()["type"] == "urn:warmside:field"
            and reply.json()["detail"] != f"{field}: there is no such field"
        )
    readme = Path(ROOT / "README.md").read_text()
    assert all(f"`{field}`" in readme for field in fields)
