"""XHTML 1.0 Transitional pages, built as trees and serialized by ElementTree."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from warmside.sessions.model import WarmSession

DOCTYPE = (
    b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
    b'"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
)
NS_XHTML = "http://www.w3.org/1999/xhtml"

FORM_FIELDS = (
    ("lang", "Language", "en"),
    ("wait", "wait (seconds)", "60"),
    ("hold", "hold", "1"),
    ("ver", "BOSH version", "1.6"),
    ("attach_within", "attach within (seconds)", ""),
    ("presence", "presence (available)", ""),
    ("fetch", "fetch (roster)", ""),
)


def success(session: WarmSession) -> bytes:
    """The page for a warm session: the contract's ``<dl class="binding">``."""
    body, page = _page("Success")
    binding = SubElement(body, "dl", {"class": "binding"})
    for name, value in (("jid", session.jid), ("sid", session.sid), ("rid", str(session.rid))):
        SubElement(binding, "dt", {"class": name}).text = name.upper()
        SubElement(binding, "dd", {"class": name}).text = value
    if session.stanzas:
        stanzas = SubElement(body, "ol", {"class": "stanzas"})
        for stanza in session.stanzas:
            SubElement(stanzas, "li").text = stanza
    if session.roster is not None:
        roster = SubElement(body, "ol", {"class": "roster"})
        for contact in session.roster:
            SubElement(roster, "li").text = contact["jid"]
    return _serialized(page)


def error(phrase: str, details: Iterable[str]) -> bytes:
    """A page whose title and first paragraph are a reason phrase; the details follow."""
    body, page = _page(phrase)
    for detail in details:
        SubElement(body, "p").text = detail
    return _serialized(page)


def form() -> bytes:
    """The page with the form of ``GET /warm``.

    It is two forms, because a browser sends an empty password field, and an empty password is refused.
    """
    body, page = _page("Warm a session")
    _form(body, "Without the user's password", password=False)
    _form(body, "With the user's own password", password=True)
    return _serialized(page)


def _form(body: Element, legend: str, *, password: bool) -> None:
    form = SubElement(body, "form", {"action": "/warm", "method": "post", "accept-charset": "utf-8"})
    fieldset = SubElement(form, "fieldset")
    SubElement(fieldset, "legend").text = legend
    kind = "with" if password else "without"
    _input(fieldset, kind, "jid", "JID", {"type": "text", "size": "40"})
    if password:
        _input(fieldset, kind, "password", "Password", {"type": "password", "size": "40"})
    for name, label, value in FORM_FIELDS:
        _input(fieldset, kind, name, label, {"type": "text", "size": "6", "value": value})
    SubElement(SubElement(fieldset, "p"), "input", {"type": "submit", "value": "Warm"})


def _input(fieldset: Element, kind: str, name: str, label: str, attributes: dict[str, str]) -> None:
    paragraph = SubElement(fieldset, "p")
    identifier = f"{name}-{kind}"
    SubElement(paragraph, "label", {"for": identifier}).text = label + " "
    SubElement(paragraph, "input", {"id": identifier, "name": name, **attributes})


def _page(title: str) -> tuple[Element, Element]:
    page = Element("html", {"xmlns": NS_XHTML, "xml:lang": "en", "lang": "en"})
    SubElement(SubElement(page, "head"), "title").text = title
    body = SubElement(page, "body")
    SubElement(body, "p").text = title
    return body, page


def _serialized(page: Element) -> bytes:
    serialized: bytes = tostring(page, "utf-8", xml_declaration=False)
    return DOCTYPE + serialized + b"\n"
