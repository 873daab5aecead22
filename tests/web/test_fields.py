"""Bodies and fields of requests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmside.sessions.model import WarmRequest
from warmside.web.body import FORM, JSON, BodyError, FieldError, TooManyFields, UnsupportedType, read_fields
from warmside.web.fields import WARM_FIELDS, read_warm_request


def warm_request(**fields: object) -> WarmRequest:
    return read_warm_request({"jid": "juliet@example.org", **fields})


def test_a_form_and_a_json_object_have_the_same_meaning() -> None:
    form = read_fields(FORM + "; charset=UTF-8", b"jid=j%C3%BClia%40example.org&wait=20&lang=")
    from_json = read_fields(JSON, json.dumps({"jid": "jülia@example.org", "wait": 20}).encode())
    assert read_warm_request(form) == read_warm_request(from_json)


def test_absent_fields_have_the_documented_defaults() -> None:
    request = warm_request()
    assert (request.lang, request.wait, request.hold, request.ver) == ("en", 60, 1, (1, 6))
    assert request.password is None and request.address is None
    schemas = {field.name: field.schema for field in WARM_FIELDS}
    assert [schemas[name]["default"] for name in ("wait", "hold", "ver")] == [60, 1, "1.6"]
    assert not {"default"} & {*schemas["lang"], *schemas["language"]}, "generated clients would send both"


def test_every_field_is_read() -> None:
    request = warm_request(password="s:e cret", language="pt-BR", wait="300", hold=0, ver="1.11", address="2001:DB8::1")
    assert request.password == "s:e cret" and request.address == "2001:db8::1"
    assert (request.lang, request.wait, request.hold, request.ver) == ("pt-BR", 300, 0, (1, 11))


def test_presence_fetch_and_attach_within_are_read() -> None:
    request = warm_request(presence="available", fetch=" roster ", attach_within="90")
    assert (request.available, request.roster, request.attach_within) == (True, True, 90)
    request = warm_request(presence="", fetch="", attach_within="")
    assert (request.available, request.roster, request.attach_within) == (False, False, None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"jid": ""}, "jid"),
        ({"jid": None}, "jid"),
        ({"jid": ["a@b"]}, "jid"),
        ({"jid": "example.org"}, "jid"),
        ({"password": ""}, "password"),
        ({"password": None}, "password"),
        ({"password": "warmside-otp-x"}, "password"),
        ({"password": "a\0b"}, "password"),
        ({"password": "\ud800"}, "password"),
        ({"lang": "en", "language": "en"}, "language"),
        ({"lang": "e n"}, "lang"),
        ({"lang": "'/>"}, "lang"),
        ({"wait": 0}, "wait"),
        ({"wait": 301}, "wait"),
        ({"wait": "1e2"}, "wait"),
        ({"wait": True}, "wait"),
        ({"wait": 1.5}, "wait"),
        ({"wait": "٣"}, "wait"),
        ({"hold": -1}, "hold"),
        ({"hold": 11}, "hold"),
        ({"ver": "1"}, "ver"),
        ({"ver": "1.6.0"}, "ver"),
        ({"ver": 1.6}, "ver"),
        ({"presence": "unavailable"}, "presence"),
        ({"fetch": "roster,vcard"}, "fetch"),
        ({"attach_within": 0}, "attach_within"),
        ({"address": "localhost"}, "address"),
        ({"address": "fe80::1%eth0"}, "address"),
        ({"address": "1.2.3.4\r\nX: y"}, "address"),
        ({"jld": "x"}, "jld"),
        ({"x\r\ny": "x"}, "(unnamed)"),
    ],
)
def test_an_error_names_the_invalid_field(fields: dict[str, object], field: str) -> None:
    with pytest.raises(FieldError) as wrong:
        warm_request(**fields)
    assert wrong.value.field == field
    assert str(wrong.value).startswith(f"{field}: ")
    assert len(str(wrong.value)) < 120


def test_an_error_does_not_contain_the_value() -> None:
    for name in ("jid", "password", "lang", "wait", "ver", "address", "presence"):
        with pytest.raises(FieldError) as wrong:
            warm_request(**{name: "warmside-otp-geheim\0"})
        assert "geheim" not in str(wrong.value)


@pytest.mark.parametrize("body", [b"jid=a%40b&jid=c%40d", b"jid=a%40b&wait=1&jid=a%40b"])
def test_an_error_names_the_duplicate_field(body: bytes) -> None:
    with pytest.raises(FieldError, match="jid: duplicate"):
        read_fields(FORM, body)
    with pytest.raises(FieldError, match="jid: duplicate"):
        read_fields(JSON, b'{"jid": "a@b", "jid": "a@b"}')


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        (None, b"jid=a%40b", UnsupportedType),
        ("multipart/form-data; boundary=x", b"", UnsupportedType),
        ("text/plain", b"jid=a%40b", UnsupportedType),
        (FORM + "; charset=latin-1", b"jid=a%40b", UnsupportedType),
        (FORM, b"jid", BodyError),
        (FORM, b"jid=%ff", BodyError),
        (FORM, b"jid=\xff", BodyError),
        (JSON, b"", BodyError),
        (JSON, b"[]", BodyError),
        (JSON, b"null", BodyError),
        (JSON, b'[{"jid": "a@b"}]', BodyError),
        (JSON, b'{"jid": }', BodyError),
        (JSON, b"\xff", BodyError),
        (JSON, b"[" * 60_000, BodyError),
        (FORM, b"&".join(b"f%d=" % n for n in range(33)), TooManyFields),
        (JSON, json.dumps({f"f{n}": n for n in range(33)}).encode(), TooManyFields),
    ],
)
def test_an_invalid_body_is_rejected(content_type: str | None, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_fields(content_type, body)


def test_an_empty_body_has_no_fields() -> None:
    assert read_fields(None, b"") == {} == read_fields(FORM, b"")


@given(st.sampled_from([FORM, JSON]), st.binary(max_size=200))
def test_any_body_is_read_or_rejected(content_type: str, body: bytes) -> None:
    try:
        read_warm_request(read_fields(content_type, body))
    except (FieldError, BodyError, TooManyFields):
        pass


def test_an_ipv4_address_that_is_written_as_ipv6_is_an_ipv4_address() -> None:
    assert warm_request(address="::ffff:203.0.113.7").address == "203.0.113.7"


def test_a_byte_order_mark_is_skipped() -> None:
    for content_type, body in ((JSON, b'{"jid": "a@b"}'), (FORM, b"jid=a%40b")):
        assert read_fields(content_type, b"\xef\xbb\xbf" + body) == {"jid": "a@b"}


@pytest.mark.parametrize("name", ["jid", "password", "wait", "lang"])
def test_null_is_named_and_never_read_as_absent(name: str) -> None:
    with pytest.raises(FieldError, match=f"{name}: is null: leave the field out"):
        read_warm_request(read_fields(JSON, json.dumps({"jid": "a@b"} | {name: None}).encode()))


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "GZIP"])
def test_a_content_encoding_is_named(encoding: str) -> None:
    with pytest.raises(UnsupportedType, match="Content-Encoding"):
        read_fields(JSON, b'{"jid": "a@b"}', encoding)


def test_identity_is_no_content_encoding() -> None:
    assert read_fields(JSON, b'{"jid": "a@b"}', "Identity") == {"jid": "a@b"}
