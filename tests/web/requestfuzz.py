"""Random requests: bytes on a connection to the HTTP interface. See test_request_fuzz.py."""

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.web.fuzzworld import ADMIN
from warmside.web.fields import WARM_FIELDS
from warmside.web.openapi import description

AUTHORIZED = b"Basic " + base64.b64encode(f"{ADMIN}:right".encode())


class RawRequest(bytes):
    """The bytes of a request, shown up to a length."""

    def __repr__(self) -> str:
        """Return the beginning and the end."""
        return super().__repr__() if len(self) < 4000 else f"{self[:3000]!r} ... {self[-500:]!r}"


# Texts that were wrong somewhere once: preparation, IDNA, numbers of other scripts, controls, surrogates.
odd = st.sampled_from(
    ["", " ", "\0", "\n", "\r\n", "\t", "ß", "ﬁ", "\u00ad", "\u200d", "\ufeff", "\ufffd", "\uffff", "\ud800", "İ", "％",
     "\U000e0001", "\u0627", "\u3002", "１", "²", "x" * 1100, "ü" * 600, "a.b", "..", ".", "-", "_", "xn--", "xn--a",
     "xn--bcher-kva", "@", "/", ":", "<", "&", "\"", "'", "]]>", "%00", "{", "[::1]", "*"]
)  # fmt: skip
texts = st.one_of(odd, st.text(max_size=12), st.text(max_size=3).map(lambda text: text * 300))
hosts = st.one_of(
    st.sampled_from(["example.org", "EXAMPLE.org", "example.org.", "bücher.example", "xn--bcher-kva.example", "a_b"]),
    st.lists(texts, max_size=3).map(".".join),
    texts,
)
jids = st.one_of(
    st.just("juliet@example.org"),
    st.builds("{}@{}".format, st.one_of(st.just("juliet"), texts), hosts),
    st.builds("{}@{}/{}".format, st.one_of(st.just("juliet"), texts), hosts, texts),
    st.sampled_from(["admin@example.org", "boss@example.org", "boss@example.org/r"]),
    texts,
)
numbers = st.one_of(st.integers(), st.sampled_from([0, 1, 10, 11, 300, 301, 10**9, 2**63, 10**4200, -1, -(10**4200)]))
SUITABLE: dict[str, st.SearchStrategy[Any]] = {
    "jid": jids,
    "password": st.one_of(st.just("right"), st.just("warmside-otp-x"), texts),
    "lang": st.one_of(st.sampled_from(["en", "pt-BR", "x" * 9]), texts),
    "wait": st.one_of(st.integers(0, 301), st.integers(0, 301).map(str), numbers),
    "hold": st.one_of(st.integers(-1, 11), numbers),
    "ver": st.one_of(st.sampled_from(["1.6", "1.10", "0.0", "9999.9999", "1.²", "1"]), texts),
    "address": st.one_of(
        st.ip_addresses().map(str), st.sampled_from(["fe80::1%lo", "::ffff:203.0.113.7", "1", "0x7f.1"]), texts
    ),
    "attach_within": st.one_of(st.integers(0, 200), numbers),
    "presence": st.sampled_from(["available", "", "yes", " available"]),
    "fetch": st.sampled_from(["roster", " roster ", "roster,roster", ",", ""]),
}
JID = ("jid", "juliet@example.org")
FIELDS = [field.name for field in WARM_FIELDS] + ["jids"]
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(), texts, jids),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def _named(names: list[str]) -> "st.SearchStrategy[tuple[str, Any]]":
    """Return the name of a field with a value: a suitable one, or any."""
    suitable = [st.tuples(st.just(name), SUITABLE.get(name, json_values)) for name in names]
    return st.one_of(*suitable, *suitable, st.tuples(st.sampled_from(names), json_values))


field_pairs = st.one_of(
    st.lists(_named(FIELDS[1:]), max_size=3, unique_by=lambda pair: pair[0]).map(lambda pairs: [JID, *pairs]),
    st.lists(_named(FIELDS[1:]), max_size=1).flatmap(lambda pairs: jids.map(lambda jid: [("jid", jid), *pairs])),
    st.lists(st.one_of(_named(FIELDS), st.tuples(texts, json_values)), max_size=4),
)
"""Names and values of fields."""


def _as_json(pairs: list[tuple[str, Any]]) -> bytes:
    return ("{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}").encode()


def _as_form(pairs: list[tuple[str, Any]]) -> bytes:
    shown = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in pairs]
    return urlencode(shown, errors="surrogatepass").encode()


JSON_TYPE, FORM_TYPE = b"application/json", b"application/x-www-form-urlencoded"
field_bodies = st.one_of(
    st.tuples(st.just(JSON_TYPE), field_pairs.map(_as_json)), st.tuples(st.just(FORM_TYPE), field_pairs.map(_as_form))
)
bodies = st.one_of(
    st.tuples(st.just(JSON_TYPE), json_values.map(json.dumps).map(str.encode)),
    st.tuples(
        st.just(JSON_TYPE),
        st.sampled_from(
            [b"[" * 30_000, b'{"jid":' * 9_000, b'{"jid": "a@b", "jid": "a@b"}', b"\xef\xbb\xbf{}", b"{", b"", b"\xff",
             b'{"jid": "\\ud800@b"}', b'{"jid": NaN}',
             b'{"wait": ' + b"9" * 6000 + b"}", b'{"wait": 1e999, "jid": "a@b"}', b'"' + b"x" * 60_000,
             b"{" + b",".join(b'"%d": 1' % number for number in range(40)) + b"}"]
        ),
    ),
    st.tuples(
        st.just(FORM_TYPE),
        st.sampled_from([b"&" * 40, b"=", b"jid", b"jid=%ff", b"jid=%", b"jid=a%40b&jid=a%40b", b"\0", b"jid=a@b;x=1",
                         b"jid=" + b"%41" * 20_000, b"x" * 65_537]),
    ),
    st.tuples(
        st.sampled_from([b"text/plain", b"", b"application/json; charset=utf-16", b"application/json;charset=\"UTF-8\"",
                         b"multipart/form-data; boundary=x", b"\xff", b";;;", b"application/json; charset=", b"*/*"]),
        st.one_of(field_pairs.map(_as_json), st.binary(max_size=50)),
    ),
)  # fmt: skip

PATHS = sorted(path.partition("{")[0] for path in description()["paths"])
"""Paths of the interface; a parameter in a path is cut off."""


def _quoted(text: str) -> bytes:
    return quote(text, safe="", errors="surrogatepass").encode()


targets = st.one_of(
    st.sampled_from([b"/warm", b"/credentials"]),
    st.sampled_from(PATHS).map(str.encode),
    st.builds(lambda path, rest: path.encode() + rest, st.sampled_from(PATHS), st.sampled_from(
        [b"?", b"?jid=a@b", b"/", b"//", b"/x", b"%00", b"/..", b"#x", b";x=1", b"/%ff", b"?" + b"x" * 17_000])),
    st.builds(lambda path, jid: path + b"/" + _quoted(jid), st.sampled_from([b"/users", b"/end", b"/warm"]), jids),
    st.sampled_from([b"*", b"http://example.org/warm", b"http://", b"HTTPS://[::1/ready", b"//warm", b"warm",
                     b"%2fwarm",
                     b"/%", b"/\xff", b"http:///warm?x", b"/warm/../ready"]),
    texts.map(lambda text: b"/" + _quoted(text)),
)  # fmt: skip
methods = st.one_of(
    st.just(b"POST"),
    st.sampled_from(
        [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"post", b"X" * 99]
    ),
)
values = st.one_of(
    st.sampled_from([b"", b" ", b",", b";", b"\xff\xfe", b"\xe2\x82\xac", b"x" * 5000, b"\t", b"=", b'"', b"0", b"*"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20).map(
        lambda text: text.encode("latin-1")
    ),
)
accepts = st.one_of(
    st.sampled_from(
        [b"application/json", b"*/*", b"text/plain", b"text/html", b"application/xhtml+xml",
         b"application/problem+json",
         b"application/json;q=0, text/plain;q=nan", b"text/html;q=1e999", b"*/*;q=0", b"image/png", b"a/b," * 400,
         b"application/json;q=\xb2", b";q", b"text/*;q=-inf"]
    ),
    values,
)  # fmt: skip
credentials = st.one_of(
    st.tuples(st.one_of(texts, jids, st.just(ADMIN)), texts).map(
        lambda pair: b"Basic " + base64.b64encode(":".join(pair).encode("utf-8", "surrogatepass"))
    ),
    st.sampled_from([b"Basic", b"Basic =", b"Basic \xff", b"Bearer x", b"Basic Og==", b"Basic !!!!", b"basic  eDp5",
                     b"Basic " + base64.b64encode(b"boss@example.org:right"),
                     b"Basic " + base64.b64encode(b"\xff\xfe:\x80"), b"Basic " + base64.b64encode(b"a" * 9000)]),
    values,
)  # fmt: skip
OPTIONAL: dict[bytes, st.SearchStrategy[bytes]] = {
    b"Origin": st.one_of(st.sampled_from([b"null", b"http://[", b"http://x:99999", b"http://127.0.0.1"]), values),
    b"Sec-Fetch-Site": st.one_of(st.sampled_from([b"cross-site", b"same-origin", b"none"]), values),
    b"X-Forwarded-For": st.one_of(st.sampled_from([b"1.2.3.4, ::1", b"[::1]:99999", b"::1%x", b"," * 500]), values),
    b"X-Request-ID": st.one_of(st.just(b"a" * 65), values),
    b"Content-Encoding": st.one_of(st.sampled_from([b"gzip", b"identity", b"br, gzip"]), values),
    b"Expect": st.sampled_from([b"100-continue", b"x"]),
    b"Connection": st.sampled_from([b"close", b"keep-alive", b"upgrade", b"\xff"]),
    b"Upgrade": st.sampled_from([b"websocket", b"h2c"]),
    b"Cookie": values,
    b"If-None-Match": st.sampled_from([b"*", b'"x"']),
    b"If-Modified-Since": st.one_of(st.just(b"Wed, 21 Oct 99999 07:28:00 GMT"), values),
    b"Range": st.sampled_from([b"bytes=0-", b"bytes=-", b"x"]),
    b"Accept-Encoding": values,
    b"Accept-Language": values,
    b"Host": st.sampled_from([b"x", b"", b"a b", b"[::1]", b"[::1", b"x:99999", b"\xff"]),
    b"Transfer-Encoding": st.sampled_from([b"chunked", b"gzip", b"chunked, chunked"]),
    b"Content-Length": st.sampled_from([b"0", b"-1", b"99999999", b"9" * 5000, b"\xb2", b"5"]),
}


ODDITIES = ["fields"] * 6 + ["body", "target", "method", "accept", "credentials", "header", "header", "bytes"]
"""Parts of a request that may be odd, each as often as it is wanted."""


@st.composite
def requests(draw: st.DrawFn) -> RawRequest:
    """Return the bytes of a request. One or two parts are odd; the others are those of an admin's valid request."""
    odd = set(draw(st.lists(st.sampled_from(ODDITIES), min_size=1, max_size=2)))
    content_type, sent = JSON_TYPE, _as_json([JID])
    if odd & {"fields", "body"}:
        content_type, sent = draw(field_bodies if "fields" in odd else bodies)
    method = draw(methods) if "method" in odd else b"POST"
    target = draw(targets) if "target" in odd else draw(st.sampled_from([b"/warm", b"/warm", b"/credentials"]))
    accept = draw(accepts) if "accept" in odd else draw(st.sampled_from([JSON_TYPE, JSON_TYPE, b"*/*"]))
    lines = [
        b" ".join([method, target, b"HTTP/1.1"]),
        b"Host: 127.0.0.1:5281",
        b"Authorization: " + (draw(credentials) if "credentials" in odd else AUTHORIZED),
        b"Accept: " + accept,
        b"Content-Type: " + content_type,
    ]
    if draw(st.sampled_from([False] * 9 + [True])):
        lines.append(b"Transfer-Encoding: chunked")
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent) if sent else b"0\r\n\r\n"
    else:
        lines.append(b"Content-Length: %d" % len(sent))
    if "header" in odd:
        for name in draw(st.lists(st.sampled_from(sorted(OPTIONAL)), min_size=1, max_size=2)):
            lines.append(name + b": " + draw(OPTIONAL[name]))
    if "bytes" in odd and draw(st.booleans()):
        del lines[draw(st.integers(0, len(lines) - 1))]
    request = b"\r\n".join(lines) + b"\r\n\r\n" + sent
    if "bytes" in odd:
        at = draw(st.integers(0, len(request)))
        request = request[:at] + draw(st.binary(max_size=5)) + request[at:]
    return RawRequest(request)
