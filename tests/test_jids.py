"""Prepared JIDs, and patterns of JIDs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.words.protocols.jabber.jid import InvalidFormat, prep

from warmside.jids import JID, InvalidJID, Pattern, ascii_host, prepare, prepare_host, prepare_uncached, unicode_host


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("juliet@example.org", "juliet@example.org"),
        ("JULIET@Example.ORG/Balcony", "juliet@example.org/Balcony"),
        ("ｊuliet@example.org", "juliet@example.org"),
        ("juliet@example.org.", "juliet@example.org"),
        ("juliet@example.org/a/b@c", "juliet@example.org/a/b@c"),
        ("straße@example.org", "strasse@example.org"),
        ("juliet@my_host.Example", "juliet@my_host.example"),
        ("jüliet@_Bü_cher.example/a b", "jüliet@_bü_cher.example/a b"),
        ("juliet@xn--bcher-kva.example", "juliet@bücher.example"),
        ("juliet@XN--BCHER-KVA.example.", "juliet@bücher.example"),
        ("juliet@xn--bcher-kva\u3002example", "juliet@bücher.example"),
        # These mean no label in Unicode that nameprep leaves as it is.
        ("juliet@xn--strae-oqa.example", "juliet@xn--strae-oqa.example"),
        ("juliet@xn--99999999.example", "juliet@xn--99999999.example"),
        ("juliet@xn--a.example", "juliet@xn--a.example"),
    ],
)
def test_a_jid_is_prepared(text: str, full: str) -> None:
    assert prepare(text).full() == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "@example.org",
        "juliet@",
        "juliet@..",
        "juliet@a..b",
        "juliet@exa mple.org",
        "jul iet@example.org",
        "juliet@example.org/",
        "juliet@example.org/\x07",
        "a" * 1024 + "@example.org",
        "a@" + "\u00ad" * 1023 + "a",
        "juliet@" + "a." * 600 + "org",
        "juliet@example.org/" + "ü" * 512,
        "\u00ad@example.org",
        "juliet@-",
        "juliet@example.org\n",
        "x" * 100_000,
    ],
)
def test_an_invalid_jid_is_rejected_and_not_quoted(text: str) -> None:
    with pytest.raises(InvalidJID) as raised:
        prepare(text)
    assert not text or text not in str(raised.value)


@given(st.text(max_size=60))
def test_any_text_is_prepared_or_rejected(text: str) -> None:
    try:
        jid = prepare(text)
    except InvalidJID:
        return
    assert jid.user
    assert prepare(jid.full()).full() == jid.full(), "preparing a prepared JID changes nothing"


@given(st.text(max_size=20) | st.text("aZ_-ßüſ", max_size=9), st.sampled_from(["", "chat."]))
def test_the_two_spellings_of_a_host_are_one_host(label: str, above: str) -> None:
    try:
        host = prepare_host(f"{above}{label}.example")
    except InvalidJID:
        return
    if all(len(each) <= 63 for each in ascii_host(host).split(".")):
        assert prepare_host(ascii_host(host)) == unicode_host(ascii_host(host)) == host
    assert ascii_host(host).isascii()


@given(st.from_regex(r"xn--[a-z0-9-]{0,20}", fullmatch=True))
def test_no_two_names_in_punycode_are_one_host(label: str) -> None:
    try:
        host = prepare_host(label)
    except InvalidJID:
        return
    assert ascii_host(host) == label


@given(st.text(max_size=30) | st.text("aZ.-ßüſ\u3002\uff0e", max_size=12))
def test_any_host_is_prepared_or_rejected(text: str) -> None:
    try:
        host = prepare_host(text)
    except InvalidJID:
        return
    assert host
    assert prepare_host(host) == host, "preparing a prepared host changes nothing"


@pytest.mark.parametrize(
    ("pattern", "bare", "matches"),
    [
        ("*", "juliet@example.org", True),
        ("admin@*", "admin@example.org", True),
        ("ADMIN@Example.org", "admin@example.org", True),
        ("admin@*", "administrator@example.org", False),
        ("admin*@example.org", "administrator@example.org", True),
        ("*@example.org", "juliet@example.org.evil", False),
        ("*@*.example.org", "juliet@a.b.example.org", True),
        ("*@*.example.org", "juliet@example.org", False),
        ("a.c@example.org", "abc@example.org", False),
        ("*@my-*", "juliet@my-host", True),
        ("*@my_*", "juliet@my_host", True),
        ("*@my_host.example", "juliet@myxhost.example", False),
        ("*@xn--bcher-kva.example", "juliet@bücher.example", True),
        ("*@bücher.example", "juliet@bücher.example", True),
        ("admin@xn--*", "admin@bücher.example", True),
        ("admin@*.xn--bcher-kva.example", "admin@chat.bücher.example", True),
        ("xn--*@example.org", "ü@example.org", False),
    ],
)
def test_a_pattern_matches_whole_bare_jids(pattern: str, bare: str, matches: bool) -> None:
    assert Pattern.parse(pattern).matches(bare) is matches


@pytest.mark.parametrize("text", ["", "juliet", "example.org", "@example.org", "juliet@", "a@b@c", "a@b/c", "a b@c"])
def test_an_invalid_pattern_is_rejected(text: str) -> None:
    with pytest.raises(InvalidJID):
        Pattern.parse(text)


@given(st.from_regex(r"[ -~]{1,20}@[ -~]{1,20}(/[ -~]{1,20})?", fullmatch=True))
def test_the_shortcut_for_ascii_gives_the_prepared_jid(text: str) -> None:
    try:
        jid = prepare(text)
    except InvalidJID:
        return
    without = jid.host.replace("_", "0")  # nameprep forbids _
    assert (jid.user, without, jid.resource) == prep(jid.user, without, jid.resource)
    assert isinstance(jid, JID) and jid == prepare(jid.full())


LOCALS = st.from_regex(r"[A-Za-z0-9._~+=-]{1,20}", fullmatch=True) | st.text(min_size=1, max_size=20)


@given(LOCALS, st.text(max_size=20))
def test_local_part_and_resource_are_what_stringprep_makes_of_them(local: str, resource: str) -> None:
    local = local.translate({ord("@"): "a", ord("/"): "b"})
    text = f"{local}@Example.org/{resource}" if resource else f"{local}@Example.org"
    try:
        expected = prep(local, "example.org", resource or None)
    except InvalidFormat:
        expected = None, "", None
    if resource and not expected[2]:
        expected = None, "", None
    for function in (prepare, prepare_uncached):
        try:
            jid = function(text)
        except InvalidJID:
            assert not expected[0]
        else:
            assert (jid.user, jid.host, jid.resource) == expected


def test_a_long_list_does_not_displace_prepared_jids() -> None:
    prepare("juliet@example.org")
    hits = prepare.cache_info().hits
    for number in range(5000):
        prepare_uncached(f"user{number}@example.org")
    prepare("juliet@example.org")
    assert prepare.cache_info().hits == hits + 1


@given(
    st.text("abz09._~+=-", min_size=1, max_size=9),
    st.text("abz09.-", min_size=1, max_size=9),
    st.text(max_size=3) | st.text("!~aZ/@", max_size=9),
)
def test_the_shortcut_accepts_only_jids_that_are_prepared_already(local: str, host: str, resource: str) -> None:
    text = f"{local}@{host}" + (f"/{resource}" if resource else "")
    try:
        expected = prep(local, host.removesuffix("."), resource or None)
    except (InvalidFormat, UnicodeError, IndexError):
        expected = None
    if expected is None or not all(expected[1].split(".")) or (resource and not expected[2]):
        with pytest.raises(InvalidJID):
            prepare(text)
    else:
        jid = prepare(text)
        assert (jid.user, jid.host, jid.resource) == expected


@given(
    st.text(max_size=9) | st.text("ab.+*?()[]|^$\\{}", max_size=9),
    st.text(max_size=9) | st.text("abz09.-", min_size=1, max_size=9),
)
def test_a_bare_jid_is_a_pattern_that_matches_itself(local: str, host: str) -> None:
    try:
        bare = prepare(f"{local}@{host}").userhost()
    except InvalidJID:
        return
    assert Pattern.parse(bare).matches(bare)
    assert Pattern.parse("*").matches(bare)
