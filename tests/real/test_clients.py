"""Linters of OpenAPI accept the description, and clients generated from it can call every operation."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.parts import ADMIN, PASSWORD, Server, basic, run
from warmside.web.openapi import description

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
REDOCLY = ROOT / ".venv/redocly/node_modules/.bin/redocly"
JID = "client@example.org"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    """Save the description that the service returns."""
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_bytes(server.request("GET", "/openapi.json").body)
    return path


@pytest.fixture(scope="module")
def generated(document: Path) -> Iterator[Path]:
    """Generate a client with each generator; return the folder with both packages, which can be imported."""
    folder = document.parent
    java = subprocess.Popen(
        [BIN / "openapi-generator-cli", "generate", "-i", document, "-g", "python",
         "-o", folder, "--package-name", "generator_client"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    done = run(
        BIN / "openapi-python-client", "generate", "--path", document, "--meta", "none", "--fail-on-warning",
        "--output-path", folder / "python_client",
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},  # it formats with ruff
    )  # fmt: skip
    output, _ = java.communicate(timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert java.returncode == 0, output
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def operations() -> set[str]:
    """Return the operation IDs of the description."""
    return {operation["operationId"] for path in description()["paths"].values() for operation in path.values()}


def test_openapi_spec_validator_accepts_the_description(document: Path) -> None:
    done = run(sys.executable, "-m", "openapi_spec_validator", document)
    assert done.returncode == 0, done.stdout + done.stderr


def test_redocly_accepts_the_description_without_a_warning(document: Path) -> None:
    if not REDOCLY.exists():
        pytest.skip("redocly is not installed: it needs Node.js 20, see tests/run")
    done = run(REDOCLY, "lint", "--format", "json", document)
    found = json.loads(done.stdout)["problems"]
    assert found == [] and done.returncode == 0, found


def test_openapi_python_client_can_call_every_operation(generated: Path, server: Server) -> None:
    package = importlib.import_module("python_client")
    models = importlib.import_module("python_client.models")
    client = package.AuthenticatedClient(
        base_url=f"http://127.0.0.1:{server.port}",
        token=basic().removeprefix("Basic "),
        prefix="Basic",
        headers={"Accept": "application/json"},
        raise_on_unexpected_status=True,
        timeout=60,
    )
    called: set[str] = set()

    def call(operation: str, **arguments: Any) -> Any:
        called.add(operation)
        module = importlib.import_module(f"python_client.api.default.{operation}")
        return module.sync_detailed(client=client, **arguments)

    with client:
        for body in (models.WarmBody(jid=JID), models.WarmBody(jid=JID, language="de")):
            warmed = call("warm", body=body)
            assert warmed.status_code == 200, warmed.content
            assert warmed.parsed.jid.startswith(f"{JID}/") and warmed.parsed.rid > 0
        both = call("warm", body=models.WarmBody(jid=JID, lang="de", language="de"))
        assert both.status_code == 400 and both.parsed.field == "language"
        credentials = call("credentials", body=models.CredentialsBody(jid=JID))
        assert credentials.status_code == 200 and credentials.parsed.jid == JID
        assert call("end", body=models.EndBody(jid=f"nobody-{JID}")).parsed.ended == []
        announced = call("announce", body=models.AnnounceBody(jids=[f"new-{JID}"]))
        assert announced.parsed.jids == [f"new-{JID}"] and announced.parsed.added == 1
        refused = call("announce", body=models.AnnounceBody(jids=[JID, f"{JID}/x"]))
        assert refused.status_code == 400 and refused.parsed.entry == 2
        assert call("remove", jid=f"new-{JID}").status_code == 204
        assert call("health").parsed.status == "ok"
        assert call("ready").parsed.status == "ready"
        assert call("openapi").parsed.openapi == "3.1.0"
        assert b"warmside" in call("metrics").content
        html = client.with_headers({"Accept": "text/html"})
        called.add("form")
        form = importlib.import_module("python_client.api.default.form").sync_detailed(client=html)
        assert form.status_code == 200 and b"<form" in form.content
    assert called == operations()


# The client leaves its connections open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_openapi_generator_client_can_call_every_operation(generated: Path, server: Server) -> None:
    package = importlib.import_module("generator_client")
    configuration = package.Configuration(host=f"http://127.0.0.1:{server.port}", username=ADMIN, password=PASSWORD)
    called: set[str] = set()
    with package.ApiClient(configuration) as transport:
        api = package.DefaultApi(transport)

        def call(operation: str, *arguments: Any, **options: Any) -> Any:
            called.add(operation)
            return getattr(api, operation)(*arguments, **options)

        for body in (package.WarmRequest(jid=JID), package.WarmRequest(jid=JID, language="de")):
            warmed = call("warm", body)
            assert warmed.jid.startswith(f"{JID}/") and warmed.rid > 0
        with pytest.raises(package.exceptions.BadRequestException) as refused:
            call("warm", package.WarmRequest(jid=JID, lang="de", language="de"))
        assert refused.value.data.var_field == "language"
        assert call("credentials", package.CredentialsRequest(jid=JID)).jid == JID
        assert call("end", package.EndRequest(jid=f"nobody-{JID}")).ended == []
        assert call("announce", package.AnnounceRequest(jids=[f"new-{JID}"])).added == 1
        assert call("remove", f"new-{JID}") is None
        assert call("health").status == "ok"
        assert call("ready").status == "ready"
        assert call("openapi").openapi == "3.1.0"
        assert "warmside" in call("metrics")
        assert "<form" in call("form", _headers={"Accept": "text/html"})
    assert called == operations()
