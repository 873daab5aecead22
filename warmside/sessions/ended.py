"""Errors of ending sessions."""


class EndedMeanwhile(Exception):
    """The user's sessions were ended after a call began that would have handed out a session or a password."""

    def __init__(self) -> None:
        super().__init__(
            "the user's sessions were ended by POST /end after this call began: "
            "repeat the call if the user has logged in again"
        )


class SessionsLeft(Exception):
    """Some of the sessions that were to be ended are left.

    :param ended: number of sessions that were ended.
    :param left: number of sessions that are left.
    """

    def __init__(self, ended: int, left: int) -> None:
        self.ended = ended
        self.left = left
        super().__init__(f"{left} of the user's sessions are left, and {ended} were ended: repeat the call")
