"""Two users of the demo, one after the other in one browser."""

import pytest

from tests.real.browser import Demo, Open
from tests.real.pages import (
    Page,
    befriend,
    comes_online,
    other_tab,
    received_by_friend,
    sees_nothing_of,
    send_with_converse,
    send_with_demo,
    write_to,
)
from tests.real.parts import Server, until

CLIENTS = {
    "strophe": Page("/strophe", send_with_demo),
    "prebind": Page("/converse", send_with_converse),
    "websocket": Page("/converse?websocket", send_with_converse),
}


@pytest.mark.parametrize("client", list(CLIENTS))
def test_after_a_log_out_the_next_user_is_alone_in_all_tabs(
    served: tuple[Server, int], demo: Demo, open_browser: Open, client: str
) -> None:
    server, _ = served
    page = CLIENTS[client]
    first, second = f"ann{client}", f"bob{client}"
    for user in (first, second):
        befriend(server, user, "friend")
    server.attached("friend@example.org").terminate()
    browser = open_browser(first).log_in(demo.url, page.path)
    comes_online(browser)
    page.send(browser, "written by Ann")
    write_to(server, first, "for Ann alone")
    browser.sees("body", "for Ann alone")
    other_tab(browser)
    browser.get(demo.url + "/strophe")
    comes_online(browser)
    browser.click("#logout")
    for _ in range(2):
        browser.find("#login")
        other_tab(browser)
    until(lambda: not server.sessions(first))
    browser.name = second
    browser.log_in(demo.url, page.path)
    for text in ("Bob in one tab", "Bob in the other"):
        comes_online(browser)
        page.send(browser, text)
        sees_nothing_of(browser, "for Ann alone", "written by Ann", first)
        other_tab(browser)
        browser.get(demo.url + page.path)
    assert server.sessions(first) == []
    assert received_by_friend(server, 3) == [
        (f"{first}@example.org", "written by Ann"),
        (f"{second}@example.org", "Bob in one tab"),
        (f"{second}@example.org", "Bob in the other"),
    ]
