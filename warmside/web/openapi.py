"""The OpenAPI 3.1 description of the HTTP interface, made from the fields and problems that the code uses.

To describe a new resource: an entry in `description`, with a function that returns its operation.
"""

from collections.abc import Iterable
from typing import Any

from warmside import __version__
from warmside.jids import MAX_CHARACTERS
from warmside.web.body import FORM, JSON
from warmside.web.fields import JID_FIELDS, JID_PATTERN, WARM_FIELDS, Field
from warmside.web.negotiate import PROBLEM_JSON
from warmside.web.problems import PROBLEMS, phrase
from warmside.web.users import BARE_JID_PATTERN, MAX_JIDS

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
RETRY_AFTER: Schema = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
FULL_JID = "^[^@/]+@[^@/]+/.+$"
JID_STRING: Schema = {"type": "string", "pattern": JID_PATTERN}
FULL_JID_STRING: Schema = {"type": "string", "pattern": FULL_JID}
BARE_JID: Schema = {
    "type": "string",
    "minLength": 3,
    "maxLength": MAX_CHARACTERS,
    "pattern": BARE_JID_PATTERN,
    "examples": ["juliet@example.org"],
}
SECONDS: Schema = {"type": "integer", "minimum": 0, "description": "Seconds."}


def description() -> Schema:
    """Return the description as a JSON object."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "warmside",
            "version": __version__,
            "summary": "Logs the users of a web application in to ejabberd without their passwords.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The service that returned this description."}],
        "security": [{"admin": []}],
        "paths": {
            "/warm": {"get": _form(), "post": _warm()},
            "/credentials": {"post": _credentials()},
            "/end": {"post": _end()},
            "/users": {"post": _announce()},
            "/users/{jid}": {"delete": _remove()},
            "/health": {"get": _public("health", "Return 200 while the process serves.", {"status": {"const": "ok"}})},
            "/ready": {"get": _ready()},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _public("openapi", "Return this description.", {"openapi": STRING})},
        },
        "components": {
            "securitySchemes": {"admin": {"type": "http", "scheme": "basic"}},
            "schemas": {"WarmSession": _warm_session(), "Problem": _problem()},
            "headers": {
                "RetryAfter": {
                    "description": "Seconds to wait before a retry.",
                    "schema": {"type": "integer", "minimum": 1},
                },
                "Challenge": {"schema": STRING},
            },
        },
    }


def _form() -> Schema:
    page = {"text/html": {"schema": STRING}, "application/xhtml+xml": {"schema": STRING}}
    replies = {"200": {"description": "The form.", "content": page}}
    return {
        "operationId": "form",
        "summary": "Return a form for tests in a browser.",
        "responses": replies | _problems([401, 403, 406, 408, 429, 431]),
    }


def _warm() -> Schema:
    content = {
        JSON: {"schema": {"$ref": "#/components/schemas/WarmSession"}},
        "text/html": {"schema": STRING},
        "application/xhtml+xml": {"schema": STRING},
        "text/plain": {"schema": {"type": "string", "description": "Three lines: JID, SID, RID."}},
    }
    return {
        "operationId": "warm",
        "summary": "Log a user in, and return the session for the browser.",
        "requestBody": _body(WARM_FIELDS),
        "responses": {"200": {"description": "A warm session.", "content": content}}
        | _problems([400, 401, 403, 406, 408, 409, 413, 415, 429, 431, 502, 503, 504]),
    }


def _credentials() -> Schema:
    members = {"jid": JID_STRING, "password": STRING, "expires_in": {"type": "number", "description": "Seconds."}}
    return {
        "operationId": "credentials",
        "summary": "Return a one-time password for a client that logs in itself.",
        "requestBody": _body(JID_FIELDS),
        "responses": {"200": _json_reply("A one-time password.", members)}
        | _problems([400, 401, 403, 406, 408, 409, 413, 415, 429, 431, 502, 503, 504]),
    }


def _end() -> Schema:
    members = {"ended": {"type": "array", "items": FULL_JID_STRING}}
    return {
        "operationId": "end",
        "summary": "End one session, or all sessions of a user.",
        "requestBody": _body(JID_FIELDS),
        "responses": {"200": _json_reply("The sessions that were ended. None of them is left.", members)}
        | _problems([400, 401, 403, 406, 408, 413, 415, 429, 431, 502, 503, 504]),
    }


def _announce() -> Schema:
    given = {"type": "array", "items": BARE_JID, "maxItems": MAX_JIDS, "description": "Bare JIDs."}
    body = {"type": "object", "properties": {"jids": given}, "required": ["jids"], "additionalProperties": False}
    members = {
        "jids": {"type": "array", "items": STRING, "description": "The JIDs as prepared, in the order given."},
        "added": {"type": "integer", "minimum": 0, "description": "Number of users that were new."},
    }
    return {
        "operationId": "announce",
        "summary": "Announce users, so that they receive messages and contact requests before their first login.",
        "description": "All users are announced, or none. A problem with one JID has its number, from 1, as entry.",
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": {"200": _json_reply("All users exist now.", members)}
        | _problems([400, 401, 403, 406, 408, 409, 413, 415, 429, 431, 503]),
    }


def _remove() -> Schema:
    return {
        "operationId": "remove",
        "summary": "Remove a user: revoke one-time passwords, forget the user, end the sessions.",
        "description": "ejabberd keeps the user's roster, messages and archive until `ejabberdctl unregister`.",
        "parameters": [{"name": "jid", "in": "path", "required": True, "description": "Bare JID.", "schema": BARE_JID}],
        "responses": {"204": {"description": "The user is removed, also if the user was not known."}}
        | _problems([400, 401, 403, 408, 429, 431, 502, 503, 504]),
    }


def _ready() -> Schema:
    members = {"status": {"enum": ["ready", "not ready"]}, "store": STRING, "connection_manager": STRING}
    members |= {"hosts": STRING, "authority": STRING}
    described = _public("ready", "Return the state of each part that the service needs.", members)
    described["responses"]["503"] = _json_reply("A part is not ok.", members) | {"headers": RETRY_AFTER}
    for status in ("200", "503"):  # only with shared.url, so it is not required
        described["responses"][status]["content"][JSON]["schema"]["properties"]["shared"] = STRING
    return described


def _metrics() -> Schema:
    replies = {"200": {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": STRING}}}}
    return {
        "operationId": "metrics",
        "summary": "Return the metrics, summed over all processes of the machine.",
        "security": [],
        "responses": replies | _problems([408, 431]),
    }


def _public(operation: str, summary: str, members: Schema) -> Schema:
    """Return the description of a GET that needs no admin."""
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {"200": _json_reply(summary, members)} | _problems([408, 431]),
    }


def _json_reply(text: str, members: Schema) -> Schema:
    schema = {"type": "object", "properties": dict(members), "required": list(members)}
    return {"description": text, "content": {JSON: {"schema": schema}}}


def _body(fields: Iterable[Field]) -> Schema:
    schema = {
        "type": "object",
        "properties": {field.name: field.schema for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }
    # One type of body: clients that openapi-python-client 0.29 generates for two types can't be imported.
    text = f"The service accepts the same fields as {FORM}, too."
    return {"description": text, "required": True, "content": {JSON: {"schema": schema}}}


def _warm_session() -> Schema:
    contact = {
        "jid": STRING,
        "name": {"type": ["string", "null"]},
        "subscription": STRING,
        "ask": {"type": ["string", "boolean", "null"]},
        "groups": {"type": "array", "items": STRING},
    }
    members: Schema = {
        "jid": FULL_JID_STRING,
        "sid": STRING,
        "rid": {"type": "integer", "description": "RID of the client's next request."},
        "wait": SECONDS,
        "hold": {"type": "integer"},
        "requests": {"type": "integer"},
        "inactivity": SECONDS,
        "attach_within": SECONDS,
        "polling": {"type": ["integer", "null"]},
        "maxpause": {"type": ["integer", "null"]},
        "ver": STRING,
        "bosh_url": {"type": ["string", "null"]},
        "stanzas": {"type": "array", "items": {"type": "string", "description": "An element, as XML."}},
        "left_out": {
            "type": "integer",
            "minimum": 0,
            "description": "Number of stanzas of more than 1,000 elements or 256 KiB, which are not in stanzas.",
        },
    }
    roster = {"type": "array", "items": {"type": "object", "properties": contact}}
    return {"type": "object", "properties": members | {"roster": roster}, "required": list(members)}


def _problem() -> Schema:
    return {
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "properties": {
            "type": {"enum": [f"urn:warmside:{name}" for name in PROBLEMS]},
            "title": STRING,
            "status": {"enum": sorted(set(PROBLEMS.values()))},
            "detail": STRING,
            "field": {"type": "string", "description": "Name of the invalid field."},
            "entry": {"type": "integer", "minimum": 1, "description": "Number of the invalid entry in a list."},
            "step": {"type": "string", "description": "Step of the login that failed."},
            "condition": {"type": "string", "description": "Condition that ejabberd gave, such as account-disabled."},
        },
        "required": ["type", "title", "status", "detail"],
    }


def _problems(statuses: list[int]) -> Schema:
    content = {
        PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}},
        "text/html": {"schema": STRING},
        "application/xhtml+xml": {"schema": STRING},
        "text/plain": {"schema": STRING},
    }
    replies: Schema = {}
    for status in statuses:
        replies[str(status)] = {"description": phrase(status), "content": content}
        if status in (429, 503, 504):
            replies[str(status)]["headers"] = RETRY_AFTER
        if status == 401:
            replies[str(status)]["headers"] = {"WWW-Authenticate": {"$ref": "#/components/headers/Challenge"}}
    return replies
