"""Flask: `chat_session` is what brings your users online; the login around it stands for your own.

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
    """JSON that no cache and no proxy keeps."""
    reply = jsonify(members)
    reply.status_code = status
    reply.headers["Cache-Control"] = "no-store"
    return reply


@app.route("/chat-session", methods=["GET", "POST"])
def chat_session() -> Response:
    """JID, SID and RID for whoever is logged in here. Nothing that the browser sends has a say in who that is."""
    user = session.get("user")
    if user is None:
        return answer({"error": "log in first"}, 403)
    try:
        reply = requests.post(
            f"{WARMSIDE}/warm",
            json={"jid": f"{user}@{CHAT_HOST}"},  # bare: each tab gets a session of its own
            auth=LOGIN,
            headers={"Accept": "application/json"},
            timeout=15,
        )
    except requests.RequestException:
        return answer({"error": "the chat is not available now"}, 502)
    if reply.status_code != 200:
        app.logger.error("warmside answered %s: %s", reply.status_code, reply.text[:500])
        return answer({"error": "the chat is not available now"}, 502)
    return answer(reply.json(), 200)


@app.post("/login")
def log_in() -> AnyResponse:
    """Your own login. This one believes everybody; but a name goes into a JID, and must have neither @ nor /."""
    if not re.fullmatch("[a-z0-9.-]{1,40}", request.form["user"]):
        return answer({"error": "no such user"}, 403)
    session["user"] = request.form["user"]
    return redirect("/static/page.html", 303)


@app.post("/logout")
def log_out() -> AnyResponse:
    """The page has ended its chat session before it comes here; see session.js."""
    session.clear()
    return redirect("/static/page.html", 303)
