"""Targets of ``POST /warm``, and what a run of `tests.bench.warm` measured for each."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.tables import spread, table

FIRST_CLASSIC = 2.7
"""Milliseconds of the classic login at 1 at once, in the first measurement, before warmside was written."""
Series = dict[str, list[float]]
"""Figures of one way at one concurrency, by their names; one value for each round."""


@dataclass(frozen=True)
class Target:
    """A target, and what was measured.

    :param limit: the text of the limit.
    :param values: one for each round, or one for all; empty if the run did not measure it.
    :param met: True if the median of the values is within the limit; ``None`` if there are none.
    """

    name: str
    limit: str
    values: tuple[float, ...]
    met: bool | None

    @property
    def verdict(self) -> str:
        """``met``, ``missed`` or ``not measured``."""
        return {True: "met", False: "missed", None: "not measured"}[self.met]

    @property
    def measured(self) -> str:
        """The values as text."""
        if not self.values:
            return "-"
        return f"{self.values[0]:.3g}" if len(self.values) == 1 else spread(self.values)


def at_most(name: str, limit: float, values: Sequence[float], unit: str = "", *, aim: float | None = None) -> Target:
    """Return a target with an upper limit.

    :param aim: a better figure, which is printed and does not decide.
    """
    text = f"at most {limit:g}{unit}" + (f" (aim {aim:g})" if aim is not None else "")
    return Target(name, text, tuple(values), statistics.median(values) <= limit if values else None)


def at_least(name: str, limit: float, values: Sequence[float]) -> Target:
    """Return a target with a lower limit."""
    return Target(name, f"at least {limit:g}", tuple(values), statistics.median(values) >= limit if values else None)


def ratios(over: Series | None, under: Series | None, figure: str) -> list[float]:
    """Return a figure of one way divided by that of another, round by round."""
    if over is None or under is None:
        return []
    return [one / other for one, other in zip(over[figure], under[figure], strict=True)]


def targets(results: dict[str, Any]) -> list[Target]:
    """Return all targets.

    :param results: as `tests.bench.warm` writes them with ``--json``.
    """
    series: dict[tuple[str, int], Series] = {(each["way"], each["at_once"]): each for each in results["series"]}
    warm = {at_once: series[way, at_once] for way, at_once in series if way == "warm"}
    classic = {at_once: series[way, at_once] for way, at_once in series if way == "classic"}
    counts = results["counts"]
    return [
        at_most("p50 at 1 / classic", 1.0, ratios(warm[1], classic[1], "p50"), aim=0.85),
        at_least("logins/s at 8 / classic", 0.8, ratios(warm[8], classic[8], "rate")),
        at_least("logins/s at 32 / classic", 0.9, ratios(warm[32], classic[32], "rate")),
        at_most("p99 at 32 / p50 at 32", 2.0, ratios({"p": warm[32]["p99"]}, {"p": warm[32]["p50"]}, "p")),
        at_most("CPU of warmside at 1", 1.1, warm[1]["warmside"], " ms", aim=0.9),
        at_most("Deferreds", 15, one(counts, "Deferreds")),
        # A connection that is opened or closed during the count needs some calls.
        at_most("epoll_ctl", 0.5, one(counts, "epoll_ctl")),
        at_most("p50 at 1 / PHP prebind library", 0.75, ratios(warm[1], series.get(("prebind", 1)), "p50")),
    ]


def one(counts: dict[str, float | None], name: str) -> list[float]:
    """Return a count as the values of a target."""
    value = counts.get(name)
    return [] if value is None else [value]


def report(results: dict[str, Any]) -> str:
    """Return the tables of a run: every way, the counts, the targets."""
    rows = [
        [
            each["way"],
            str(each["at_once"]),
            spread(each["p50"]),
            spread(each["p99"], 1),
            spread(each["rate"], 0),
            f"{statistics.median(each['warmside']):.2f}",
            f"{statistics.median(each['ejabberd']):.2f}",
        ]
        for each in results["series"]
    ]
    header = ["login", "at once", "p50 ms", "p99 ms", "logins/s", "CPU warmside ms", "CPU ejabberd ms"]
    counts = [[name, "not measured" if n is None else f"{n:.1f}"] for name, n in results["counts"].items()]
    classic = statistics.median(next(each["p50"] for each in results["series"] if each["way"] == "classic"))
    parts = [
        f"{results['rounds']} rounds of {results['users']} logins; medians of the rounds (least to greatest).",
        f"ejabberd {results['ejabberd']}, Python {results['python']}, {results['processors']} processors.",
        f"Calibration loop: {spread(results['calibration'])}; CPU times are divided by it.",
        f"classic, p50 at 1: {classic:.2f} ms, and {FIRST_CLASSIC} ms in the first measurement.",
        table(header, rows),
        table(["in one warm", "count"], counts),
        table(["target", "measured", "limit", "result"], [[e.name, e.measured, e.limit, e.verdict] for e in
                                                         targets(results)]),
    ]  # fmt: skip
    if not any(each["way"] == "prebind" for each in results["series"]):
        parts.append("The row of candy-chat/xmpp-prebind-php is missing: --prebind FOLDER names a checkout of it.")
    return "\n\n".join(parts)
