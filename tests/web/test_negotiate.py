"""Which form a reply takes."""

import pytest

from warmside.web.negotiate import Form, choose

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ([], Form.HTML),
        ([""], Form.HTML),
        (["*/*"], Form.HTML),
        (["text/html"], Form.HTML),
        (["application/xhtml+xml"], Form.XHTML),
        (["application/xhtml+xml, text/html;q=0.5"], Form.HTML),
        (["application/xhtml+xml, */*;q=0.1"], Form.HTML),
        (["application/xhtml+xml, text/html;q=0"], Form.XHTML),
        ([BROWSER], Form.HTML),
        (["application/json"], Form.JSON),
        (["application/json, text/plain, */*"], Form.JSON),
        (["text/plain;q=0.9, application/json;q=0.8"], Form.TEXT),
        (["text/html;q=0.1", "application/json;q=0.2"], Form.JSON),
        (["application/problem+json"], Form.JSON),
        (["text/*"], Form.HTML),
        (["application/*"], Form.XHTML),
        (["text/html;q=0, text/*"], Form.TEXT),
        (["APPLICATION/JSON; Q=1"], Form.JSON),
        (["image/png"], None),
        (["text/html;q=0"], None),
        (["application/json;q=0, image/*"], None),
        (["application/json;q=nonsense"], None),
        (["application/json;q=7"], Form.JSON),
    ],
)
def test_the_reply_takes_the_form_that_is_liked_best(accept: list[str], form: Form | None) -> None:
    assert choose(accept) is form
