"""Regular removal of expired entries."""

from twisted.internet.task import Clock

from tests.support import logging
from warmside.app.cleanup import SWEEP_INTERVAL, Cleanup


def test_each_function_is_called_at_each_interval_also_after_an_error() -> None:
    clock, calls = Clock(), []

    async def first() -> None:
        calls.append("first")
        if len(calls) == 1:
            raise OSError("disk full")

    cleanup = Cleanup(clock, first, lambda: calls.append("second"))
    cleanup.start()
    assert calls == []
    with logging() as logged:
        clock.advance(SWEEP_INTERVAL)
    assert calls == ["first"] and "expired-entry cleanup failed: disk full" in logged[0]
    clock.advance(SWEEP_INTERVAL)
    assert calls == ["first", "first", "second"]
    cleanup.stop()
    clock.advance(SWEEP_INTERVAL)
    assert len(calls) == 3
