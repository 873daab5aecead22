"""The OpenAPI description, checked against the real service. `tests/web/test_openapi.py` needs no server."""

import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS
from schemathesis.config import SchemathesisConfig

from tests.real.parts import Server, basic
from warmside.web.openapi import description

# The one-time passwords that these requests leave must not be those of a user whom another test counts.
schema = schemathesis.openapi.from_dict(
    json.loads(json.dumps(description()).replace("juliet@", "openapi@")),
    config=SchemathesisConfig.from_dict(
        {
            "checks": {
                # These are described: hosts that ejabberd does not serve.
                "not_a_server_error": {"expected-statuses": ["1xx", "2xx", "3xx", "4xx", 502, 503, 504]},
                # 413: a list of too many JIDs may be longer than a body.
                "negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]},
            }
        }
    ),
)

UNSUITABLE_CHECKS = {
    "missing_required_header",  # the test adds the header to every request
    "ignored_auth",  # sends hundreds of wrong passwords, which the service throttles
    "not_a_server_error",  # 502 is described: ejabberd does not serve the hosts of random JIDs
    "positive_data_acceptance",  # a JSON schema cannot describe a JID or an IP address
}


def test_the_description_is_served(server: Server) -> None:
    reply = server.request("GET", "/openapi.json")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/json"
    assert json.loads(reply.body) == json.loads(json.dumps(description()))


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_reply_is_as_described(case: Any, server: Server) -> None:
    case.headers = {**(case.headers or {}), "Authorization": basic()}
    for name in ("Origin", "Sec-Fetch-Site"):
        case.headers.pop(name, None)
    response = case.call(base_url=f"http://127.0.0.1:{server.port}")
    assert response.status_code != 500
    checks = [check for check in CHECKS.get_all() if check.__name__ not in UNSUITABLE_CHECKS]
    case.validate_response(response, checks=checks)
