"""The OpenAPI description, compared with the real service."""

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

EXCLUDED_CHECKS = {
    "missing_required_header",  # the test adds the header to every case
    "ignored_auth",  # hundreds of wrong passwords would be throttled
    "positive_data_acceptance",  # a JSON schema can't express JIDs and IP addresses
}


def test_the_description_is_served_unchanged(server: Server) -> None:
    reply = server.request("GET", "/openapi.json")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/json"
    assert json.loads(reply.body) == json.loads(json.dumps(description()))


def test_the_listed_problems_are_those_that_the_code_raises() -> None:
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
def test_responses_match_the_description(case: Any, server: Server) -> None:
    case.headers = {**(case.headers or {}), "Authorization": basic()}
    for name in ("Origin", "Sec-Fetch-Site"):
        case.headers.pop(name, None)
    response = case.call(base_url=f"http://127.0.0.1:{server.port}")
    checks = [check for check in CHECKS.get_all() if check.__name__ not in EXCLUDED_CHECKS]
    case.validate_response(response, checks=checks)


@pytest.mark.parametrize("path", ["/warm", "/credentials"])
def test_every_described_field_is_read(server: Server, path: str) -> None:
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
