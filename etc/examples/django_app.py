"""Django: `chat_session` is what brings your users online; the rest stands for your own project.

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
    """JID, SID and RID for whoever is logged in here. Nothing that the browser sends has a say in who that is."""
    user = request.session.get("user")  # in your project: request.user, if it is_authenticated
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
        print(f"warmside answered {reply.status_code}: {reply.text[:500]}", file=sys.stderr)
        return answer({"error": "the chat is not available now"}, 502)
    return answer(reply.json(), 200)


def answer(members: dict[str, object], status: int) -> JsonResponse:
    """JSON that no cache and no proxy keeps."""
    return JsonResponse(members, status=status, headers={"Cache-Control": "no-store"})


@csrf_exempt
@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    """Your own login. This one believes everybody; but a name goes into a JID, and must have neither @ nor /."""
    if not re.fullmatch("[a-z0-9.-]{1,40}", request.POST["user"]):
        return answer({"error": "no such user"}, 403)
    request.session["user"] = request.POST["user"]
    return redirect("/")


@csrf_exempt
@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """The page has ended its chat session before it comes here; see session.js."""
    request.session.flush()
    return redirect("/")


urlpatterns = [path("chat-session", chat_session), path("login", log_in), path("logout", log_out)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
