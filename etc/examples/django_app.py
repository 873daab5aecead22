"""Django: `chat_session` gets the chat session; the rest stands for your own project.

pip install django requests
WARMSIDE_PASSWORD=... SECRET_KEY=... python django_app.py runserver --noreload
"""

import os
import re
import sys

import requests
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

WARMSIDE = os.environ.get("WARMSIDE", "http://127.0.0.1:5281")
LOGIN = ("webapp", os.environ["WARMSIDE_PASSWORD"])
CHAT_HOST = os.environ.get("CHAT_HOST", "example.org")

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)


def chat_session(request: HttpRequest) -> JsonResponse:
    """Return JID, SID and RID for the logged-in user. The JID comes from the login, never from the browser."""
    user = request.session.get("user")  # in your project: request.user, if it is_authenticated
    if user is None:
        return answer({"error": "log in first"}, 401)
    try:
        reply = requests.post(
            f"{WARMSIDE}/warm",
            json={"jid": f"{user}@{CHAT_HOST}"},  # a bare JID: each tab gets its own session
            auth=LOGIN,
            headers={"Accept": "application/json"},
            timeout=15,
        )
    except requests.RequestException:
        return answer({"error": "the chat is not available; try again later"}, 502)
    if reply.status_code != 200:
        print(f"warmside: status {reply.status_code}: {reply.text[:500]}", file=sys.stderr)
        return answer({"error": "the chat is not available; try again later"}, 502)
    return answer(reply.json(), 200)


def answer(members: dict[str, object], status: int) -> JsonResponse:
    """Return JSON that no cache may store."""
    return JsonResponse(members, status=status, headers={"Cache-Control": "no-store"})


@csrf_exempt
@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    """Replace this with your own login: it checks no password. A name with @ or / would change the JID."""
    if not re.fullmatch("[a-z0-9.-]{1,40}", request.POST["user"]):
        return answer({"error": "no such user"}, 403)
    request.session["user"] = request.POST["user"]
    return redirect("/")


@csrf_exempt
@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """Log out. The page ends its chat session before it calls this."""
    request.session.flush()
    return redirect("/")


urlpatterns = [path("chat-session", chat_session), path("login", log_in), path("logout", log_out)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
