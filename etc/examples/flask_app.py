"""Flask with a chat: sign-up, log-in, session, log-out. The accounts stand for your own.

pip install flask requests
WARMSIDE_PASSWORD=... SECRET_KEY=... flask --app flask_app run
"""

import os
import secrets
from pathlib import Path

from flask import Flask, jsonify, render_template_string, request, session
from flask.typing import ResponseReturnValue
from warmside_client import ChatRefused, ChatUnavailable, LoggedOut, announce, chat_jid, credential, end, warm

app = Flask(__name__, static_folder=os.environ.get("STATIC", "static"), static_url_path="/static")
app.secret_key = os.environ["SECRET_KEY"]
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # other sites' pages can't send the cookie with a POST

jids: dict[str, str] = {}
"""Bare JID of each account: a unique column in your database."""
logins: dict[str, str] = {}
"""Name of the user of each login. Flask's session is in the cookie, which the server can't end."""


@app.after_request
def never_stored(response):  # type: ignore[no-untyped-def]
    """Keep sessions and passwords out of caches."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@app.post("/signup")
def sign_up() -> ResponseReturnValue:
    """Create an account: the user exists for ejabberd from now on."""
    name = request.form["user"]
    try:
        jid = announce(chat_jid(name))
    except ValueError as error:
        return jsonify(error=str(error)), 400
    if name in jids or jid in jids.values():
        return jsonify(error="this name is taken"), 409
    jids[name] = jid
    return logged_in(name)


@app.post("/login")
def log_in() -> ResponseReturnValue:
    """Replace this with your own login: it checks no password."""
    if request.form["user"] not in jids:
        return jsonify(error="no such user"), 403
    return logged_in(request.form["user"])


def logged_in(name: str) -> ResponseReturnValue:
    """Begin a login, which the cookie names."""
    session["login"] = secrets.token_urlsafe()
    logins[session["login"]] = name
    return jsonify(jid=jids[name])


def jid_of_user() -> str:
    """Return the JID of the logged-in user. It comes from the login, never from the browser."""
    jid = jids.get(logins.get(session.get("login", ""), ""))
    if jid is None:
        raise LoggedOut
    return jid


PAGE = Path(str(app.static_folder), "strophe.html")
EMPTY = '<script type="application/json" id="chat-session"></script>'
FILLED = '<script type="application/json" id="chat-session">{{ chat|tojson }}</script>'  # tojson escapes "<"


@app.get("/chat")
def chat_page() -> ResponseReturnValue:
    """Return the page with its session: it is online one round trip earlier. Without a session it requests one."""
    page = PAGE.read_text(encoding="utf-8")
    try:
        return page.replace(EMPTY, render_template_string(FILLED, chat=warm(jid_of_user())))
    except LoggedOut:
        return page
    except (ChatRefused, ChatUnavailable) as error:
        app.logger.error("chat: %s", error)
        return page


@app.get("/chat-user")
def chat_user() -> ResponseReturnValue:
    """Return the JID of the logged-in user."""
    return jsonify(jid=jid_of_user())


@app.post("/chat-session")
def chat_session() -> ResponseReturnValue:
    """Return JID, SID and RID for a page that attaches."""
    return jsonify(warm(jid_of_user()))


@app.post("/chat-credentials")
def chat_credentials() -> ResponseReturnValue:
    """Return JID and one-time password for a client that logs in itself."""
    return jsonify(credential(jid_of_user()))


@app.get("/chat-allowed")
def chat_allowed() -> ResponseReturnValue:
    """Return 204 or 401. A web server asks it before a browser may connect to /ws; see etc/proxies."""
    jid_of_user()
    return "", 204


@app.post("/logout")
def log_out() -> ResponseReturnValue:
    """Log out: the login first, so that no page gets a new session, then every chat session of the user."""
    name = logins.pop(session.pop("login", ""), "")
    if name:
        end(jids[name])
    return jsonify({})


@app.errorhandler(ChatUnavailable)
def unavailable(error: ChatUnavailable) -> ResponseReturnValue:
    """Let the page try again. The reason is for your log."""
    app.logger.error("chat: %s", error)
    return jsonify(error="the chat is not available; try again later"), 503, {"Retry-After": str(error.retry_after)}


@app.errorhandler(ChatRefused)
def refused(error: ChatRefused) -> ResponseReturnValue:
    """Tell the page not to try again. The reason is for your log."""
    app.logger.error("chat: %s", error)
    return jsonify(error="there is no chat for this account"), 403


@app.errorhandler(LoggedOut)
def logged_out(error: LoggedOut) -> ResponseReturnValue:
    """Respond as to a user who is not logged in."""
    return jsonify(error="log in first"), 401
