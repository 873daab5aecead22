"""Tests mirror ``warmside/``; ``tests/real/`` runs real servers, ``tests/bench/`` measures."""

import sys
from pathlib import Path

# The private ejabberd of the quickstart is that of the tests, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "etc"))
