"""XHTML 1.0 Transitional pages, built as trees and serialized by ElementTree."""

from xml.etree.ElementTree import Element, SubElement, tostring

from warmside.sessions.model import WarmSession
from warmside.web.fields import WARM_FIELDS, Field

DOCTYPE = (
    b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
    b'"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
)
NS_XHTML = "http://www.w3.org/1999/xhtml"
WIDE_INPUT = "40"
"""Characters that the inputs for JID and password show."""
NARROW_INPUT = "6"


def warm_session_page(session: WarmSession) -> bytes:
    """Return the page for a warm session. Clients parse its ``<dl class="binding">``: its structure must not change."""
    body, page = _page("Success")
    binding = SubElement(body, "dl", {"class": "binding"})
    for name, value in (("jid", session.jid), ("sid", session.sid), ("rid", str(session.rid))):
        SubElement(binding, "dt", {"class": name}).text = name.upper()
        SubElement(binding, "dd", {"class": name}).text = value
    if session.stanzas:
        stanzas = SubElement(body, "ol", {"class": "stanzas"})
        for stanza in session.stanzas:
            SubElement(stanzas, "li").text = stanza
    if session.left_out:
        SubElement(body, "p", {"class": "left-out"}).text = f"Stanzas left out: {session.left_out}"
    if session.roster is not None:
        roster = SubElement(body, "ol", {"class": "roster"})
        for contact in session.roster:
            SubElement(roster, "li").text = contact["jid"]
    return _serialized(page)


def problem_page(phrase: str, detail: str) -> bytes:
    """Return a page whose title and first paragraph are a reason phrase; the detail follows."""
    body, page = _page(phrase)
    SubElement(body, "p").text = detail
    return _serialized(page)


def form_page() -> bytes:
    """Return the page with the form of ``GET /warm``.

    The page has two forms. A browser always sends a password field, even if it is empty, and an empty password is
    an error.
    """
    body, page = _page("Warm a session")
    _form(body, "With a one-time password", password=False)
    _form(body, "With the user's own password", password=True)
    return _serialized(page)


def _form(body: Element, legend: str, *, password: bool) -> None:
    # A relative address works below the path prefix of a reverse proxy, too.
    form = SubElement(body, "form", {"action": "warm", "method": "post", "accept-charset": "utf-8"})
    fieldset = SubElement(form, "fieldset")
    SubElement(fieldset, "legend").text = legend
    suffix = "with-password" if password else "without-password"
    for field in WARM_FIELDS:
        if field.label is not None and (password or field.name != "password"):
            _input(fieldset, field, f"{field.name}-{suffix}")
    SubElement(SubElement(fieldset, "p"), "input", {"type": "submit", "value": "Warm"})


def _input(fieldset: Element, field: Field, identifier: str) -> None:
    paragraph = SubElement(fieldset, "p")
    SubElement(paragraph, "label", {"for": identifier}).text = f"{field.label} "
    attributes = {
        "id": identifier,
        "name": field.name,
        "type": "password" if field.name == "password" else "text",
        "size": WIDE_INPUT if field.preset is None else NARROW_INPUT,
    }
    if field.preset is not None:
        attributes["value"] = field.preset
    SubElement(paragraph, "input", attributes)


def _page(title: str) -> tuple[Element, Element]:
    """Return the body and the root of a new page."""
    page = Element("html", {"xmlns": NS_XHTML, "xml:lang": "en", "lang": "en"})
    SubElement(SubElement(page, "head"), "title").text = title
    body = SubElement(page, "body")
    SubElement(body, "p").text = title
    return body, page


def _serialized(page: Element) -> bytes:
    serialized: bytes = tostring(page, "utf-8", xml_declaration=False)
    return DOCTYPE + serialized + b"\n"
