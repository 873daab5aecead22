"""The OpenAPI 3.1 description of the HTTP interface, made from what the interface itself is made of."""

from typing import Any

from warmside import __version__
from warmside.web.fields import FORM, JSON
from warmside.web.replies import PROBLEMS, phrase

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
SECONDS: Schema = {"type": "integer", "minimum": 0, "description": "seconds"}


def description() -> Schema:
    """The whole description, as a JSON object."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "warmside",
            "version": __version__,
            "summary": "Logs the users of a web application in to ejabberd without knowing their passwords.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"admin": []}],
        "paths": {
            "/warm": {"get": _form(), "post": _warm()},
            "/credentials": {"post": _credentials()},
            "/health": {"get": _open("Whether the process serves.", {"status": {"const": "ok"}}, [])},
            "/ready": {"get": _ready()},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _open("This description.", {"openapi": STRING}, [])},
        },
        "components": {
            "securitySchemes": {"admin": {"type": "http", "scheme": "basic"}},
            "schemas": {"WarmSession": _warm_session(), "Problem": _problem()},
            "headers": {
                "RetryAfter": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}},
                "Challenge": {"schema": STRING},
            },
        },
    }


def _form() -> Schema:
    page = {"text/html": {"schema": STRING}, "application/xhtml+xml": {"schema": STRING}}
    replies = {"200": {"description": "The form.", "content": page}}
    return {"summary": "A form for trying it out in a browser.", "responses": replies | _problems([401, 403, 406, 429])}


def _warm() -> Schema:
    content = {
        JSON: {"schema": {"$ref": "#/components/schemas/WarmSession"}},
        "text/html": {"schema": STRING},
        "application/xhtml+xml": {"schema": STRING},
        "text/plain": {"schema": {"type": "string", "description": "JID, SID and RID, a line each"}},
    }
    return {
        "summary": "Log a user in, and hand the session over.",
        "requestBody": _body(_wish()),
        "responses": {"200": {"description": "A warm session.", "content": content}}
        | _problems([400, 401, 403, 406, 413, 415, 429, 502, 503, 504]),
    }


def _credentials() -> Schema:
    members = {"jid": STRING, "password": STRING, "expires_in": {"type": "number", "description": "seconds"}}
    return {
        "summary": "A one-time password for a client that logs in itself.",
        "requestBody": _body({"jid": _jid()}),
        "responses": {"200": _json_reply("A one-time password.", members)}
        | _problems([400, 401, 403, 406, 413, 415, 429, 502, 503, 504]),
    }


def _ready() -> Schema:
    members = {"status": {"enum": ["ready", "not ready"]}, "store": STRING, "connection_manager": STRING}
    described = _open("Whether the store and the connection managers are there.", members, [])
    described["responses"]["503"] = _json_reply("Something is missing.", members)
    return described


def _metrics() -> Schema:
    replies = {"200": {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": STRING}}}}
    return {"summary": "Metrics, summed up over all copies.", "security": [], "responses": replies}


def _open(summary: str, members: Schema, problems: list[int]) -> Schema:
    """What anyone may GET."""
    replies = {"200": _json_reply(summary, members)} | _problems(problems)
    return {"summary": summary, "security": [], "responses": replies}


def _json_reply(text: str, members: Schema) -> Schema:
    schema = {"type": "object", "properties": members, "required": list(members)}
    return {"description": text, "content": {JSON: {"schema": schema}}}


def _body(fields: Schema) -> Schema:
    schema = {"type": "object", "properties": fields, "required": ["jid"], "additionalProperties": False}
    return {"required": True, "content": {JSON: {"schema": schema}, FORM: {"schema": schema}}}


def _jid() -> Schema:
    text = "bare or full JID with a local part"
    return {"type": "string", "minLength": 3, "description": text, "examples": ["juliet@example.org"]}


def _wish() -> Schema:
    language = {"type": "string", "description": "language of the stream (xml:lang)", "default": "en"}
    return {
        "jid": _jid(),
        "password": {"type": "string", "minLength": 1, "description": "the user's own; absent, one is minted"},
        "lang": language,
        "language": language,
        "wait": {"type": "integer", "minimum": 1, "maximum": 300, "default": 60},
        "hold": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
        "ver": {"type": "string", "pattern": r"^[0-9]{1,4}\.[0-9]{1,4}$", "default": "1.6"},
        "address": {"type": "string", "description": "the browser's IP address"},
        "presence": {"const": "available"},
        "fetch": {"const": "roster"},
        "attach_within": {"type": "integer", "minimum": 1, "description": "seconds"},
    }


def _warm_session() -> Schema:
    contact = {
        "jid": STRING,
        "name": {"type": ["string", "null"]},
        "subscription": STRING,
        "ask": {"type": ["string", "boolean", "null"]},
        "groups": {"type": "array", "items": STRING},
    }
    members: Schema = {
        "jid": STRING,
        "sid": STRING,
        "rid": {"type": "integer", "description": "rid of the client's next request"},
        "wait": SECONDS,
        "hold": {"type": "integer"},
        "requests": {"type": "integer"},
        "inactivity": SECONDS,
        "attach_within": SECONDS,
        "polling": {"type": ["integer", "null"]},
        "maxpause": {"type": ["integer", "null"]},
        "ver": STRING,
        "bosh_url": {"type": ["string", "null"]},
        "stanzas": {"type": "array", "items": {"type": "string", "description": "an element, as XML"}},
    }
    roster = {"type": "array", "items": {"type": "object", "properties": contact}}
    return {"type": "object", "properties": members | {"roster": roster}, "required": list(members)}


def _problem() -> Schema:
    return {
        "type": "object",
        "description": "RFC 9457",
        "properties": {
            "type": {"enum": [f"urn:warmside:{name}" for name in PROBLEMS]},
            "title": STRING,
            "status": {"enum": sorted(set(PROBLEMS.values()))},
            "detail": STRING,
            "field": {"type": "string", "description": "the field that is wrong"},
            "step": {"type": "string", "description": "what the login was at"},
        },
        "required": ["type", "title", "status", "detail"],
    }


def _problems(statuses: list[int]) -> Schema:
    content = {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
        "text/html": {"schema": STRING},
        "application/xhtml+xml": {"schema": STRING},
        "text/plain": {"schema": STRING},
    }
    replies: Schema = {}
    for status in statuses:
        replies[str(status)] = {"description": phrase(status), "content": content}
        if status in (429, 503):
            replies[str(status)]["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
        if status == 401:
            replies[str(status)]["headers"] = {"WWW-Authenticate": {"$ref": "#/components/headers/Challenge"}}
    return replies
