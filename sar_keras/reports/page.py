"""One HTML page of tables, pictures and curves in a file of its own, which asks no other for anything."""

import base64
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import numpy as np
from PIL import Image

from sar_keras.io.files import atomic, readable
from sar_keras.reports.figures import text_of

# Bytes of all pictures of a page before base64, which makes a third more of them: a page stays below 20 MB.
_BYTES = 12_000_000
# Longest side of a picture in pixels, at most; pixels that a byte is enough for; and the qualities that are tried.
_SIDE, _PIXELS_OF_A_BYTE, _QUALITIES = 512, 2, (85, 60, 30)
# What stands for the colour of the text around a curve, which is the browser's to choose.
_INK = "#010203"


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        notes: Sentences below the heading.
    """

    kind: ClassVar[str]
    title: str
    notes: Sequence[str] = dataclasses.field(default=(), kw_only=True)


@dataclasses.dataclass(frozen=True)
class Facts(Section):
    """Names with their values."""

    kind = "facts"
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table(Section):
    """A table that its reader sorts by any column.

    Attributes:
        heads: The names of the columns.
        rows: Cells: text, numbers, {"mean", "low", "high"}, or None.
        folded: Whether it is shown only when asked for.
    """

    kind = "table"
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Patch:
    """A place in pictures.

    Attributes:
        name: What it is called.
        images: (H, W, 3), uint8, one for each column.
        figures: What was measured there, by the names that are shown.
    """

    name: str
    images: Sequence[np.ndarray]
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Pictures(Section):
    """Places in pictures that its reader enlarges, and puts in the order of any figure.

    Attributes:
        columns: What the images of each place are called.
        patches: The places. They are taken one by one, so that memory holds one only.
        count: How many they are.
    """

    kind = "pictures"
    columns: Sequence[str]
    patches: Iterable[Patch]
    count: int
    orders: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Curves(Section):
    """Curves over one axis.

    Attributes:
        x: The name of the axis.
        curves: Name to the values (x, y) of its points.
        log: Whether the other axis is logarithmic.
    """

    kind = "curves"
    x: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    log: bool = False


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page, whole or not at all. It takes less than 20 MB, however many pictures it has."""
    images = sum(section.count * len(section.columns) for section in sections if isinstance(section, Pictures))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    most = _BYTES // max(images, 1)
    environment.filters |= {
        "cell": text_of,
        "key": _key,
        "picture": lambda image: _data_uri(image, most),
        "svg": _svg,
    }
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        parts = environment.get_template("page.html").generate(title=title, sections=sections)
        file.writelines(map(readable, parts))


def _key(value: Any) -> str:
    """What a cell is sorted by."""
    number = value["mean"] if isinstance(value, dict) else value
    return repr(float(number)) if isinstance(number, float) else text_of(value)


def _data_uri(image: np.ndarray, most: int) -> str:
    """An image as a picture of about so many bytes at most."""
    picture, data = Image.fromarray(image), b""
    side = min(_SIDE, int((_PIXELS_OF_A_BYTE * most) ** 0.5))
    picture.thumbnail((side, side))
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality)
        data = buffer.getvalue()
        if len(data) <= most:
            break
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def _svg(section: Curves) -> str:
    """Curves as SVG whose text is text, in the colour of what is around it."""
    import matplotlib

    options: Any = {"svg.fonttype": "none", "text.parse_math": False, "font.size": 10}
    inked = ("axes.edgecolor", "text.color", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    options |= dict.fromkeys(inked, _INK)
    with matplotlib.rc_context(options):
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogFormatter, MaxNLocator

        figure = Figure(figsize=(5, 3.2))
        figure.subplots_adjust(left=0.14, right=0.98, bottom=0.16, top=0.96)
        axes = figure.subplots()
        lines = [axes.plot(x, y, ".-", markersize=4, linewidth=1.2)[0] for x, y in section.curves.values()]
        axes.set_xlabel(readable(section.x))
        if all(float(value).is_integer() for x, _ in section.curves.values() for value in x):
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if section.log:
            axes.set_yscale("log")
            # Its usual labels are mathematics, which is off because of what runs may be called.
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter())
        axes.grid(alpha=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        if len(section.curves) > 1:
            # By name, because a label that begins with an underscore is left out of the others.
            axes.legend(lines, map(readable, section.curves), framealpha=0, fontsize=8)
        buffer = io.StringIO()
        # What it would say of itself are the addresses of vocabularies.
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
