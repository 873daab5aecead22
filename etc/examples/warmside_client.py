"""The calls of a web application to warmside, for Flask, Django and others: copy this file.

pip install requests; set WARMSIDE, WARMSIDE_PASSWORD and CHAT_HOST in the environment.
"""

import os
import re
import unicodedata
from typing import Any
from urllib.parse import quote

import requests

WARMSIDE = os.environ.get("WARMSIDE", "http://127.0.0.1:5281")
LOGIN = (os.environ.get("WARMSIDE_LOGIN", "webapp"), os.environ["WARMSIDE_PASSWORD"])
CHAT_HOST = os.environ.get("CHAT_HOST", "example.org")
IGNORED = re.compile("[\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]")
ESCAPES = {character: f"\\{ord(character):02x}" for character in " \"&'/:<>@"}


class ChatUnavailable(Exception):
    """warmside or ejabberd does not respond, or is busy. Try again after ``retry_after`` seconds."""

    def __init__(self, reason: str, retry_after: int = 5) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class ChatRefused(Exception):
    """The call can't succeed: show the user that there is no chat, and read the message in your log."""


class LoggedOut(Exception):
    """The user was logged out while the session was made. Respond as to a user who is not logged in."""


def chat_jid(name: str) -> str:
    """Return the bare JID of a user of your site, for any name (XEP-0106).

    ejabberd prepares a JID: it drops invisible characters, folds case and normalizes (NFKC). So that is done first,
    and then the escaping. Otherwise the escapes of one name could be the text of another one.

    :raises ValueError: nothing is left of the name.
    """
    name = unicodedata.normalize("NFKC", IGNORED.sub("", name))
    name = unicodedata.normalize("NFKC", name.casefold()).strip()
    if not name:
        raise ValueError("a name needs a character other than spaces")
    name = re.sub(r"\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)", r"\\5c", name)
    return "".join(ESCAPES.get(character, character) for character in name) + "@" + CHAT_HOST


def announce(jid: str) -> str:
    """Announce a new user, so that others can write before the first login. Store the JID that is returned.

    Names of your site that are one account for ejabberd get the same JID: refuse the second one.
    """
    return str(_call("POST", "/users", {"jids": [jid]})["jids"][0])


def remove(jid: str) -> None:
    """Forget a user, and end the user's sessions. ``ejabberdctl unregister`` removes what ejabberd has stored."""
    _call("DELETE", "/users/" + quote(jid, safe=""))


def warm(jid: str, **fields: str) -> dict[str, Any]:
    """Return a session for the browser to attach to. Each tab needs its own."""
    reply: dict[str, Any] = _call("POST", "/warm", {"jid": jid} | fields)
    return reply


def credential(jid: str) -> dict[str, Any]:
    """Return a one-time password for a client that logs in itself, such as Converse.js over WebSocket."""
    reply: dict[str, Any] = _call("POST", "/credentials", {"jid": jid})
    return reply


def end(jid: str) -> None:
    """End all chat sessions of a user. Call it at the log-out; try it again if it raises `ChatUnavailable`."""
    _call("POST", "/end", {"jid": jid})


def _call(method: str, path: str, fields: Any = None) -> Any:
    headers = {"Accept": "application/json"}
    try:
        reply = requests.request(method, WARMSIDE + path, json=fields, auth=LOGIN, headers=headers, timeout=15)
    except requests.RequestException as error:
        raise ChatUnavailable(f"{path}: {type(error).__name__}") from None
    if reply.status_code in (429, 502, 503, 504):
        raise ChatUnavailable(f"{path}: {reply.text[:500]}", int(reply.headers.get("Retry-After", 5)))
    if reply.status_code == 409 and path == "/warm":
        raise LoggedOut
    if not reply.ok:
        raise ChatRefused(f"{path}: {reply.text[:500]}")
    return reply.json() if reply.content else None
