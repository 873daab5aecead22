"""The function of the examples that makes a JID from a name: the same result in Python, PHP and JavaScript."""

import itertools
import json
import os
import subprocess
import sys
import unicodedata

import pytest

from tests.real.parts import ROOT
from warmside.jids import prepare

EXAMPLES = ROOT / "etc/examples"
NAMES = {
    "ann": "ann",
    "Ann": "ann",
    " Ann Smith ": "ann\\20smith",
    "ann@example.org": "ann\\40example.org",
    "a/b": "a\\2fb",
    "d'artagnan": "d\\27artagnan",
    'a"b&c<d>e:f': "a\\22b\\26c\\3cd\\3ee\\3af",
    "back\\slash": "back\\slash",
    "a\\40b": "a\\5c40b",
    "a\\5C40b": "a\\5c5c40b",
    "a＼40b": "a\\5c40b",
    "a\\\u00ad40b": "a\\5c40b",
    "a＠b": "a\\40b",
    "Jürgen": "jürgen",
    "Ju\u0308rgen": "jürgen",
    "ÅSA": "åsa",
    "ﬁsh": "fish",
    "一": "一",
    "😀": "😀",
}
"""Name and local part."""
PYTHON = """
import json, sys
from warmside_client import chat_jid
print(json.dumps([chat_jid(name) for name in json.load(sys.stdin)]))
"""
PHP = """
require "warmside_client.php";
echo json_encode(array_map("chat_jid", json_decode(stream_get_contents(STDIN))));
"""
NODE = """
import {readFileSync} from "node:fs";
import {chatJid} from "./warmside_client.mjs";
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(chatJid)));
"""
PROGRAMS = {
    "python": [sys.executable, "-c", PYTHON],
    "php": ["php", "-r", PHP],
    "node": ["node", "--input-type=module", "-e", NODE],
}


def local_parts(language: str, names: list[str]) -> list[str]:
    """Return the local parts of the JIDs that a language's function makes."""
    environ = os.environ | {"WARMSIDE_PASSWORD": "unused"}
    done = subprocess.run(
        PROGRAMS[language],
        cwd=EXAMPLES,
        env=environ,
        input=json.dumps(names),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jids = json.loads(done.stdout)
    assert all(jid.endswith("@example.org") for jid in jids)
    return [jid.removesuffix("@example.org") for jid in jids]


@pytest.mark.parametrize("language", PROGRAMS)
def test_each_language_makes_the_same_jids(language: str) -> None:
    assert local_parts(language, list(NAMES)) == list(NAMES.values())


@pytest.mark.parametrize("language", PROGRAMS)
def test_two_names_have_one_jid_only_if_they_are_one_name_for_ejabberd(language: str) -> None:
    parts = ["a", "A", "\\", "＼", "4", "0", "５", "5", "c", "C", "@", "＠", " ", "/", "\u00ad", "\ufe00", "2"]
    names = ["x" + "".join(chosen) + "x" for chosen in itertools.product(parts[2:5], parts, parts, parts)]
    prepared: dict[str, set[str]] = {}
    for name, local in zip(names, local_parts(language, names), strict=True):
        assert prepare(local + "@example.org").user == local, "ejabberd does not change the JID"
        visible = unicodedata.normalize("NFKC", name.replace("\u00ad", "").replace("\ufe00", "")).casefold()
        prepared.setdefault(local, set()).add(visible)
    assert all(len(each) == 1 for each in prepared.values())
