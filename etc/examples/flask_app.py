"""Flask with a chat: sign-up, log-in, session, log-out. The accounts stand for your own.

pip install flask requests
WARMSIDE_PASSWORD=... SECRET_KEY=... flask --app flask_app run
"""

import os
from pathlib import Path

from flask import Flask, jsonify, render_template_string, request, session
from flask.typing import ResponseReturnValue
from warmside_client import ChatRefused, ChatUnavailable, LoggedOut, announce, chat_jid, credential, end, warm

app = Flask(__name__, static_folder=os.environ.get("STATIC", "static"), static_url_path="/static")
app.secret_key = os.environ["SECRET_KEY"]
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # other sites' pages can't send the cookie with a POST

jids: dict[str, str] = {}
"""Bare JID of each account: a unique column in your database."""


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
    session["user"] = name
    return jsonify(jid=jid)


@app.post("/login")
def log_in() -> ResponseReturnValue:
    """Replace this with your own login: it checks no password."""
    if request.form["user"] not in jids:
        return jsonify(error="no such user"), 403
    session["user"] = request.form["user"]
    return jsonify(jid=jids[session["user"]])


PAGE = Path(str(app.static_folder), "strophe.html")
EMPTY = '<script type="application/json" id="chat-session"></script>'
FILLED = '<script type="application/json" id="chat-session">{{ chat|tojson }}</script>'  # tojson escapes "<"


@app.get("/chat")
def chat_page() -> ResponseReturnValue:
    """Return the page with its session: it is online one round trip earlier. Without a session it requests one."""
    page, jid = PAGE.read_text(encoding="utf-8"), jids.get(session.get("user", ""))
    if jid:
        try:
            page = page.replace(EMPTY, render_template_string(FILLED, chat=warm(jid)))
        except (ChatRefused, ChatUnavailable, LoggedOut) as error:
            app.logger.error("chat: %s", error)
    return page


@app.get("/chat-user")
def chat_user() -> ResponseReturnValue:
    """Return the JID of the logged-in user. It comes from the login, never from the browser."""
    jid = jids.get(session.get("user", ""))
    return jsonify(jid=jid) if jid else (jsonify(error="log in first"), 401)


@app.post("/chat-session")
def chat_session() -> ResponseReturnValue:
    """Return JID, SID and RID for a page that attaches."""
    jid = jids.get(session.get("user", ""))
    return jsonify(warm(jid)) if jid else (jsonify(error="log in first"), 401)


@app.post("/chat-credentials")
def chat_credentials() -> ResponseReturnValue:
    """Return JID and one-time password for a client that logs in itself."""
    jid = jids.get(session.get("user", ""))
    return jsonify(credential(jid)) if jid else (jsonify(error="log in first"), 401)


@app.get("/chat-allowed")
def chat_allowed() -> ResponseReturnValue:
    """Return 204 or 401. A web server asks it before a browser may connect to /ws; see etc/proxies."""
    return "", 204 if session.get("user") in jids else 401


@app.post("/logout")
def log_out() -> ResponseReturnValue:
    """Log out: the cookie first, then every chat session of the user."""
    jid = jids.get(session.pop("user", ""))
    if jid:
        end(jid)
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
