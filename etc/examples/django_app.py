"""Django with a chat: sign-up, log-in, session, log-out. Copy the views, `Chat` and warmside_client.py.

pip install django requests
WARMSIDE_PASSWORD=... SECRET_KEY=... python django_app.py runserver --noreload
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line
from django.db import IntegrityError, connection, models, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.utils.html import format_html, json_script
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST
from warmside_client import ChatRefused, ChatUnavailable, LoggedOut, announce, chat_jid, credential, end, warm

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", __name__],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.ChatErrors",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DATABASE", "site.sqlite3")}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.contrib.auth import get_user_model, login, logout  # noqa: E402 - needs the settings


class Chat(models.Model):  # type: ignore[misc] # Django has no types
    """The chat account of a user: a JID belongs to one user."""

    user = models.OneToOneField(get_user_model(), models.CASCADE)
    jid = models.CharField(max_length=2047, unique=True)

    class Meta:
        app_label = __name__


class ChatErrors:
    """Middleware that responds to errors of the chat. The reasons are for your log."""

    def __init__(self, get_response: Callable[[HttpRequest], JsonResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> JsonResponse:
        """Keep sessions and passwords out of caches."""
        response = self.get_response(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> JsonResponse | None:
        """Let the page try again, or not."""
        if isinstance(error, LoggedOut):
            return JsonResponse({"error": "log in first"}, status=401)
        if isinstance(error, ChatUnavailable):
            print(f"chat: {error}", file=sys.stderr)
            message = {"error": "the chat is not available; try again later"}
            return JsonResponse(message, status=503, headers={"Retry-After": error.retry_after})
        if isinstance(error, ChatRefused):
            print(f"chat: {error}", file=sys.stderr)
            return JsonResponse({"error": "there is no chat for this account"}, status=403)
        return None


def jid_of(request: HttpRequest) -> str | None:
    """Return the JID of the logged-in user. It comes from the login, never from the browser."""
    return request.user.chat.jid if request.user.is_authenticated else None


@require_POST
def sign_up(request: HttpRequest) -> JsonResponse:
    """Create an account: the user exists for ejabberd from now on."""
    try:
        jid = announce(chat_jid(request.POST["user"]))
        with transaction.atomic():
            user = get_user_model().objects.create_user(request.POST["user"])  # your form sets a password
            Chat.objects.create(user=user, jid=jid)
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    except IntegrityError:
        return JsonResponse({"error": "this name is taken"}, status=409)
    login(request, user)
    return JsonResponse({"jid": jid})


@require_POST
def log_in(request: HttpRequest) -> JsonResponse:
    """Replace this with your own login: it checks no password."""
    user = get_user_model().objects.filter(username=request.POST["user"]).first()
    if user is None:
        return JsonResponse({"error": "no such user"}, status=403)
    login(request, user)
    return JsonResponse({"jid": user.chat.jid})


PAGE = Path(os.environ.get("STATIC", "static"), "strophe.html")
EMPTY = '<script type="application/json" id="chat-session"></script>'


@require_GET
def chat_page(request: HttpRequest) -> HttpResponse:
    """Return the page with its session: it is online one round trip earlier. Without a session it requests one."""
    jid, filled = jid_of(request), EMPTY
    if jid:
        try:
            filled = json_script(warm(jid), "chat-session")  # escapes "<"
        except (ChatRefused, ChatUnavailable, LoggedOut) as error:
            print(f"chat: {error}", file=sys.stderr)
    token = format_html('<meta name="csrf-token" content="{}">\n  ', get_token(request))  # user.js sends it back
    return HttpResponse(PAGE.read_text(encoding="utf-8").replace(EMPTY, token + filled))


@require_GET
@ensure_csrf_cookie
def chat_user(request: HttpRequest) -> JsonResponse:
    """Return the user's JID, and set the cookie whose value the page sends back as X-CSRFToken."""
    jid = jid_of(request)
    return JsonResponse({"jid": jid} if jid else {"error": "log in first"}, status=200 if jid else 401)


@require_POST
def chat_session(request: HttpRequest) -> JsonResponse:
    """Return JID, SID and RID for a page that attaches."""
    jid = jid_of(request)
    return JsonResponse(warm(jid)) if jid else JsonResponse({"error": "log in first"}, status=401)


@require_POST
def chat_credentials(request: HttpRequest) -> JsonResponse:
    """Return JID and one-time password for a client that logs in itself."""
    jid = jid_of(request)
    return JsonResponse(credential(jid)) if jid else JsonResponse({"error": "log in first"}, status=401)


@require_GET
def chat_allowed(request: HttpRequest) -> HttpResponse:
    """Return 204 or 401. A web server asks it before a browser may connect to /ws; see etc/proxies."""
    return HttpResponse(status=204 if jid_of(request) else 401)


@require_POST
def log_out(request: HttpRequest) -> JsonResponse:
    """Log out: the cookie first, then every chat session of the user."""
    jid = jid_of(request)
    logout(request)
    if jid:
        end(jid)
    return JsonResponse({})


urlpatterns = [
    path("signup", sign_up),
    path("login", log_in),
    path("logout", log_out),
    path("chat", chat_page),
    path("chat-user", chat_user),
    path("chat-session", chat_session),
    path("chat-credentials", chat_credentials),
    path("chat-allowed", chat_allowed),
]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    if Chat._meta.db_table not in connection.introspection.table_names():  # your project has a migration instead
        with connection.schema_editor() as editor:
            editor.create_model(Chat)
    execute_from_command_line(sys.argv)
