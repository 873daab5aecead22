"""Content negotiation."""

import pytest

from warmside.web.negotiate import Form, accepts_json, choose

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
        (["application/problem+json"], None),
        (["text/*, text/html;q=0.1, application/json;q=0.8"], Form.TEXT),
        (["*/*;q=0.9, text/html;q=0"], Form.XHTML),
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
def test_the_reply_has_the_preferred_form(accept: list[str], form: Form | None) -> None:
    assert choose(accept) is form


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (["application/problem+json"], Form.JSON),
        (["text/html;q=0.5, application/problem+json"], Form.JSON),
        (["text/html, application/problem+json;q=0.5"], Form.HTML),
    ],
)
def test_problem_json_is_a_form_of_errors_only(accept: list[str], form: Form) -> None:
    assert choose(accept, error=True) is form


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ([], True),
        (["text/html, */*;q=0.1"], True),
        (["application/json;q=0, */*"], False),
        (["text/html"], False),
        (["application/*"], True),
    ],
)
def test_json_may_be_acceptable_without_being_preferred(accept: list[str], json: bool) -> None:
    assert accepts_json(accept) is json
