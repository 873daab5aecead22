"""``python -m warmside`` is the ``warmside`` command."""

import sys

from warmside.cli import main

sys.exit(main())
