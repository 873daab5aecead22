"""warmside's command line, with short times for verdicts on hosts: tests do not wait for a minute.

``python -m tests.real.shortverdicts extauth --config FILE``
"""

import sys

from warmside import cli
from warmside.sessions import replayprobe

VERDICT_TIME = 6.0
MIN_BACK_OFF = 5.0

if __name__ == "__main__":
    replayprobe.VERDICT_TIME = VERDICT_TIME
    replayprobe.MIN_BACK_OFF = MIN_BACK_OFF
    sys.exit(cli.main())
