"""Every code block of README.md and docs/ runs, or says why it does not."""

import re

import pytest
from private_ejabberd import EjabberdFailed

from tests.real.documents import Block, Runner, all_blocks, blocks_of
from tests.real.parts import ROOT, Server, basic, until
from warmside.config.loader import ConfigError

BLOCKS = all_blocks()


@pytest.fixture(scope="module")
def runner(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Prepare a folder for the blocks."""
    return Runner(server, tmp_path_factory.mktemp("documents"))


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=[block.name for block in BLOCKS])
def test_a_block_runs(runner: Runner, number: int) -> None:
    block = BLOCKS[number]
    neighbours = [BLOCKS[each] if 0 <= each < len(BLOCKS) else None for each in (number - 1, number + 1)]
    before, after = (each if each and each.document == block.document else None for each in neighbours)
    runner.run(block, before)
    runner.succeeded(block, after)


REJECTED = "curl -u webapp:PASSWORD -d user=juliet http://127.0.0.1:5281/warm"
WRONG = {
    "a command that fails": ("sh", "false", "status 1"),
    "an unknown option": ("sh", "warmside check --nonsense", "status 2"),
    "a call that is rejected": (
        "sh",
        "curl -u webapp:PASSWORD -d user=juliet http://127.0.0.1:5281/warm",
        "HTTP status .400",
    ),
    "an unknown key": ("toml", "[bosh]\nadress = 1", "adress"),
    "an unknown option of ejabberd": ("yaml", "auth_use_cash: false", "exited unexpectedly"),
    "lines of no example": ("js", "connection.attach(session);", "no file of etc/examples"),
    "lines of no page": ("html", "<body>", "no file of etc/examples"),
    "another view of Django": ("python", "def chat(request): ...", "no file of etc/examples"),
    "another view of PHP": ("php", "<?php echo warm();", "no file of etc/examples"),
    "no language": ("", "curl", "nothing runs the language ''"),
    "a language that nothing runs": ("text", "a diagram", "nothing runs the language 'text'"),
}


@pytest.mark.parametrize("fault", list(WRONG))
def test_a_wrong_block_is_found(runner: Runner, fault: str) -> None:
    language, text, message = WRONG[fault]
    block = Block("wrong.md", len(fault), language, text + "\n", None)
    with pytest.raises((AssertionError, ConfigError, EjabberdFailed), match=message):
        runner.run(block, None)
        runner.succeeded(block, None)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ('{"jid": "juliet@example.org", "password": "x"}', "keys"),
        ('{"jid": "juliet@example.org", "password": "x", "expires_in": "30"}', "expires_in"),
        ('{"jid": "juliet@example.org", "password": "x", "expires_in": 30, "more": 1}', "keys"),
    ],
)
def test_a_wrong_reply_is_found(runner: Runner, shown: str, message: str) -> None:
    call = "curl -u webapp:PASSWORD -d jid=juliet@example.org http://127.0.0.1:5281/credentials\n"
    with pytest.raises(AssertionError, match=message):
        runner.run(Block("wrong.md", 2, "json", shown, None), Block("wrong.md", 1, "sh", call, None))


def test_a_reason_names_files_that_exist(runner: Runner) -> None:
    with pytest.raises(AssertionError, match=r"tests/none\.py"):
        runner.run(Block("wrong.md", 1, "sh", "false\n", "tests/none.py runs it"), None)


def test_every_block_of_a_document_is_found() -> None:
    text = (
        "```sh\ntrue\n```\n\n1. One\n\n   ```json\n   {}\n   ```\n\nindented:\n\n    false\n\n"
        "<!-- not run here: a diagram -->\n```text\n--->\n```\n\n<!-- not run here: -->\n~~~sh\nfalse\n~~~\n"
    )
    assert [(block.language, block.text, block.reason) for block in blocks_of("one.md", text)] == [
        ("sh", "true\n", None),
        ("json", "{}\n", None),
        ("", "false\n", None),
        ("text", "--->\n", "a diagram"),
        ("sh", "false\n", None),
    ]


def test_every_metric_is_described(server: Server) -> None:
    user = {"jid": "juliet@example.org"}
    calls = [server.post(path, **user) for path in ("/warm", "/credentials", "/end")]
    calls.append(server.post("/users", jids=[user["jid"]]))
    calls.append(server.request("DELETE", "/users/juliet%40example.org", headers={"Authorization": basic()}))
    assert [reply.status for reply in calls] == [200, 200, 200, 200, 204]
    described = re.findall(r"^\| `(warmside_\w+)` \| (\w+) \|", (ROOT / "docs/METRICS.md").read_text(), re.M)
    text = until(lambda: counted(server))
    assert sorted(described) == sorted(re.findall(r"^# TYPE (warmside_\w+) (\w+)$", text, re.M))


def counted(server: Server) -> str:
    """Return the metrics once those of all processes are written; before that an empty text."""
    text = server.request("GET", "/metrics").body.decode()
    return text if all(f"warmside_{call}_total{{" in text for call in ("warm", "end", "remove")) else ""
