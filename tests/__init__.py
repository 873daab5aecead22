"""Tests mirror ``warmside/``; ``tests/real/`` runs real servers, ``tests/bench/`` measures."""

import sys
from pathlib import Path

# etc/private_ejabberd.py starts the ejabberd of the quickstart and of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "etc"))
