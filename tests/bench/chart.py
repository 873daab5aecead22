"""Bar charts in SVG for the documents. Their colours follow the reader's colour scheme."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

WIDTH, BAR, GAP, LEFT = 640, 26, 14, 200
"""Pixels: width of the chart, height of a bar, space between bars, width of the labels."""
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; }
rect { fill: #c2431f; }
.other { fill: #8c959f; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } rect { fill: #f0774f; } .other { fill: #7d8590; } }
"""


class Bar(NamedTuple):
    """A bar.

    :param shown: the value as text.
    :param other: True for what warmside is compared with: the bar is grey.
    """

    label: str
    value: float
    shown: str
    other: bool = False


def bar_chart(bars: Sequence[Bar], title: str) -> ElementTree:
    """Return a chart with one bar below the other."""
    height = 40 + len(bars) * (BAR + GAP)
    size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"} | size)
    SubElement(svg, "title").text = title
    SubElement(svg, "style").text = STYLE
    SubElement(svg, "text", x="0", y="18").text = title
    scale = (WIDTH - LEFT - 80) / max(bar.value for bar in bars)
    for row, bar in enumerate(bars):
        top, length = 36 + row * (BAR + GAP), bar.value * scale
        SubElement(svg, "text", x="0", y=str(top + 18)).text = bar.label
        look = {"class": "other"} if bar.other else {}
        SubElement(svg, "rect", look, x=str(LEFT), y=str(top), width=f"{length:.0f}", height=str(BAR), rx="3")
        SubElement(svg, "text", x=f"{LEFT + length + 8:.0f}", y=str(top + 18)).text = bar.shown
    indent(svg)
    return ElementTree(svg)
