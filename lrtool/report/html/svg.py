"""A matplotlib figure as a part of an HTML page: text stays text, colours follow the page, ids are unique in it."""

import re
from io import BytesIO
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from lrtool.report.figures import ON_DARK, make_literal

SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
NARROWER = 0.7
"""As wide are figures as the plot files are, so that labels can be read on a telephone."""
LEAST_SCALE, LARGEST_SCALE = 0.9, 1.6
"""Pixels a point: on a screen too narrow for the least, a wide figure is scrolled, and nothing else is."""
_COLOR = re.compile("|".join(map(re.escape, ON_DARK)), flags=re.IGNORECASE)
_LONG_NUMBER = re.compile(r"\d+\.\d\d+")
_FONT = re.compile(r"; font-family: [^;]*")
_URL = re.compile(r"url\(#")

ElementTree.register_namespace("", SVG)


def css_name(color: str) -> str:
    """The custom property that holds a colour: --c-0072b2."""
    return f"--c-{color.lower().removeprefix('#')}"


def inline_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """`figure` as an `<svg>` element with a title and a description; `name` begins every id in it."""
    root = ElementTree.fromstring(_svg_bytes(figure, name))
    for element in root.iter():
        _adapt(element, name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    width_points = 72 * figure.get_size_inches()[0]
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "style": f"min-width: {LEAST_SCALE * width_points:.0f}px; max-width: {LARGEST_SCALE * width_points:.0f}px",
    }
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="unicode")


def _svg_bytes(figure: Figure, name: str) -> bytes:
    make_literal(figure)
    width, height = figure.get_size_inches()
    figure.set_size_inches(NARROWER * width, height)
    titles = {axes.get_title(loc="left") for axes in figure.axes}
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_text() in titles):
        text.set_wrap(True)  # type: ignore[attr-defined]
    buffer = BytesIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _adapt(element: ElementTree.Element, name: str) -> None:
    """References and ids get the name in front, colours become properties of the page, coordinates tenths of a point."""
    of = element.attrib
    if "id" in of:
        of["id"] = f"{name}-{of['id']}"
    if HREF in of:
        of["href"] = f"#{name}-{of.pop(HREF).removeprefix('#')}"
    for key, value in of.items():
        if key in ("d", "x", "y", "points", "transform"):
            of[key] = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), value).replace(
                "\n", ""
            )
        elif key in ("style", "clip-path", "fill", "stroke"):
            value = _FONT.sub("", _URL.sub(f"url(#{name}-", value))
            of[key] = _COLOR.sub(lambda color: f"var({css_name(color[0])})", value)
    if not (element.text or "").strip():
        element.text = None
    element.tail = (element.tail or "").strip()
