"""Flask: `chat_session` gets the chat session; the login stands for your own.

pip install flask requests
WARMSIDE_PASSWORD=... SECRET_KEY=... flask --app flask_app run
"""

import os
import re

import requests
from flask import Flask, Response, jsonify, redirect, request, session
from werkzeug.wrappers import Response as AnyResponse

WARMSIDE = os.environ.get("WARMSIDE", "http://127.0.0.1:5281")
LOGIN = ("webapp", os.environ["WARMSIDE_PASSWORD"])
CHAT_HOST = os.environ.get("CHAT_HOST", "example.org")

app = Flask(__name__, static_folder=os.environ.get("STATIC", "static"), static_url_path="/static")
app.secret_key = os.environ["SECRET_KEY"]
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"


def answer(members: dict[str, object], status: int) -> Response:
    """Return JSON that no cache may store."""
    reply = jsonify(members)
    reply.status_code = status
    reply.headers["Cache-Control"] = "no-store"
    return reply


def post_to_warmside(path: str) -> Response:
    """Return warmside's reply for the logged-in user. The JID comes from the login, never from the browser."""
    user = session.get("user")
    if user is None:
        return answer({"error": "log in first"}, 401)
    try:
        reply = requests.post(
            WARMSIDE + path,
            json={"jid": f"{user}@{CHAT_HOST}"},  # a bare JID: each tab gets its own session
            auth=LOGIN,
            headers={"Accept": "application/json"},
            timeout=15,
        )
    except requests.RequestException:
        return answer({"error": "the chat is not available; try again later"}, 502)
    if reply.status_code != 200:
        app.logger.error("warmside: status %s: %s", reply.status_code, reply.text[:500])
        return answer({"error": "the chat is not available; try again later"}, 502)
    return answer(reply.json(), 200)


@app.route("/chat-session", methods=["GET", "POST"])
def chat_session() -> Response:
    """Return JID, SID and RID, for a client that attaches to a session."""
    return post_to_warmside("/warm")


@app.route("/chat-credentials", methods=["GET", "POST"])
def chat_credentials() -> Response:
    """Return JID and one-time password, for a client that logs in itself."""
    return post_to_warmside("/credentials")


@app.get("/chat-allowed")
def chat_allowed() -> Response:
    """Return 204 if a user is logged in, else 401. A web server requests it before it lets a browser connect to /ws."""
    return Response(status=204 if "user" in session else 401)


@app.post("/login")
def log_in() -> AnyResponse:
    """Replace this with your own login: it checks no password. A name with @ or / would change the JID."""
    if not re.fullmatch("[a-z0-9.-]{1,40}", request.form["user"]):
        return answer({"error": "no such user"}, 403)
    session["user"] = request.form["user"]
    return redirect("/static/strophe.html", 303)


@app.post("/logout")
def log_out() -> AnyResponse:
    """Log out, and end all chat sessions of the user."""
    post_to_warmside("/end")
    session.clear()
    return redirect("/static/strophe.html", 303)
