"""What a request may say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmside.web.fields import (
    FORM,
    JSON,
    BodyError,
    FieldError,
    TooManyFields,
    UnsupportedType,
    read_fields,
    read_warm_request,
)


def warm_request(**fields: object):  # type: ignore[no-untyped-def]
    return read_warm_request({"jid": "juliet@example.org", **fields})


def test_a_form_and_a_json_object_say_the_same() -> None:
    form = read_fields(FORM + "; charset=UTF-8", b"jid=j%C3%BClia%40example.org&wait=20&lang=")
    from_json = read_fields(JSON, json.dumps({"jid": "jülia@example.org", "wait": 20}).encode())
    assert read_warm_request(form) == read_warm_request(from_json)


def test_what_is_left_out_has_the_contracts_defaults() -> None:
    wished = warm_request()
    assert (wished.lang, wished.wait, wished.hold, wished.ver) == ("en", 60, 1, (1, 6))
    assert warm_request().password is None and warm_request().address is None


def test_every_field_is_read() -> None:
    wished = warm_request(password="s:e cret", language="pt-BR", wait="300", hold=0, ver="1.11", address="2001:DB8::1")
    assert wished.password == "s:e cret" and wished.address == "2001:db8::1"
    assert (wished.lang, wished.wait, wished.hold, wished.ver) == ("pt-BR", 300, 0, (1, 11))


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
        ({"address": "localhost"}, "address"),
        ({"address": "1.2.3.4\r\nX: y"}, "address"),
        ({"jld": "x"}, "jld"),
        ({"x\r\ny": "x"}, "(unnamed)"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, object], field: str) -> None:
    with pytest.raises(FieldError) as wrong:
        warm_request(**fields)
    assert wrong.value.field == field
    assert str(wrong.value).startswith(f"{field}: ")
    assert len(str(wrong.value)) < 120


def test_a_value_is_never_quoted() -> None:
    for name in ("jid", "password", "lang", "wait", "ver", "address", "presence"):
        with pytest.raises(FieldError) as wrong:
            warm_request(**{name: "warmside-otp-geheim\0"})
        assert "geheim" not in str(wrong.value)


@pytest.mark.parametrize("body", [b"jid=a%40b&jid=c%40d", b"jid=a%40b&wait=1&jid=a%40b"])
def test_a_doubled_field_is_named(body: bytes) -> None:
    with pytest.raises(FieldError, match="jid: it is there twice"):
        read_fields(FORM, body)
    with pytest.raises(FieldError, match="jid: it is there twice"):
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
def test_a_body_that_is_none_is_refused(content_type: str | None, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_fields(content_type, body)


def test_a_request_without_a_body_has_no_fields() -> None:
    assert read_fields(None, b"") == {} == read_fields(FORM, b"")


@given(st.sampled_from([FORM, JSON]), st.binary(max_size=200))
def test_any_body_is_read_or_refused(content_type: str, body: bytes) -> None:
    try:
        read_warm_request(read_fields(content_type, body))
    except (FieldError, BodyError, TooManyFields):
        pass
