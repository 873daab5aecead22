"""Resources that need no admin: ``/health``, ``/ready``, ``/metrics``, ``/openapi.json``."""

import json

from tests.web.interface import Interface, header
from warmside.web.openapi import description


def test_health_is_ok(interface: Interface) -> None:
    response = interface.request("GET", "/health", auth=None)
    assert response.code == 200 and json.loads(response.body) == {"status": "ok"}


def test_head_is_get_without_a_body(interface: Interface) -> None:
    response = interface.request("HEAD", "/health")
    assert response.code == 200 and response.body == ""


def test_ready_has_the_state_of_each_part(interface: Interface) -> None:
    response = interface.request("GET", "/ready", auth=None)
    assert response.code == 200
    assert json.loads(response.body) == {"status": "ready", "store": "ok", "connection_manager": "ok"}
    interface.parts["connection_manager"] = "unreachable"
    response = interface.request("GET", "/ready", auth=None)
    assert response.code == 503 and json.loads(response.body)["connection_manager"] == "unreachable"
    assert int(header(response, "Retry-After") or 0) > 0


def test_metrics_have_the_type_of_prometheus_text_format(interface: Interface) -> None:
    response = interface.request("GET", "/metrics", auth=None)
    assert response.code == 200 and response.body == "warmside_x 1\n"
    assert str(header(response, "Content-Type")).startswith("text/plain; version=0.0.4")


def test_the_openapi_description_is_served(interface: Interface) -> None:
    response = interface.request("GET", "/openapi.json", auth=None)
    assert response.code == 200 and header(response, "Content-Type") == "application/json"
    assert json.loads(response.body) == json.loads(json.dumps(description()))
