"""Which process listens at an address."""

import os
import socket
import sys

import pytest

from warmside.doctor import managers


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (("0100007F",), "127.0.0.1"),
        (("00000000",), "0.0.0.0"),
        (("00000000", "00000000", "00000000", "01000000"), "::1"),
        (("B80D0120", "00000000", "00000000", "02000000"), "2001:db8::2"),
        (("00000000", "00000000", "FFFF0000", "0100007F"), "127.0.0.1"),
    ],
)
def test_addresses_of_the_kernel_are_read(words: tuple[str, ...], address: str) -> None:
    if sys.byteorder == "big":
        words = tuple(bytes.fromhex(word)[::-1].hex() for word in words)
    assert str(managers._address_of("".join(words))) == address


@pytest.mark.parametrize(("bound", "owned"), [("127.0.0.1", True), ("0.0.0.0", True), ("127.0.0.2", None)])
def test_a_listener_is_found_by_its_address(bound: str, owned: bool | None) -> None:
    with socket.create_server((bound, 0)) as listener:
        assert managers._owns(os.getpid(), "127.0.0.1", listener.getsockname()[1]) is owned
