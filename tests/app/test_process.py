"""Garbage collection of a process that serves."""

import gc

from warmside.app.process import collect_less


def test_modules_are_not_collected_and_a_young_collection_is_short() -> None:
    thresholds = gc.get_threshold()
    try:
        collect_less()
        young, middle, _ = gc.get_threshold()
        assert gc.get_freeze_count() > 10_000
        assert young * middle <= 100_000
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
