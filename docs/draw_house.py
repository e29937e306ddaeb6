"""Draws the rooms of the package, the lowest at the bottom, as SVG: a room may import those below it,
and those to its right.

    python docs/draw_house.py [FILE]
"""

import sys
from pathlib import Path

FILE = Path(__file__).parent / "contribute/house.svg"
# From the top: what a floor is about, and its rooms with what each does.
FLOORS = (
    ("people", {"cli": "one thin function a verb", "app": "the page"}),
    ("works on runs", {"evaluation": "scores a run", "training": "makes one", "reports": "pages, model cards"}),
    ("uses a model", {"scenes": "georeferenced scenes", "inference": "images, model files, exports"}),
    ("what it learns from", {"data": "pairs, splits, windows, pipeline", "config": "the keys of a run"}),
    ("what learns", {"models": "systems, losses", "networks": "one network a file"}),
    ("what is stored", {"catalogs": "finds and fetches scenes", "io": "rasters, images, bands, units"}),
    (
        "for all",
        {
            "color": "RGB, Lab",
            "compat": "the older stack",
            "hint_planes": "what a hint is",
            "terminal": "progress",
            "errors": "what users cause",
        },
    ),
)
_WIDTH, _HEIGHT, _GAP, _LABEL = 760, 46, 8, 130


def draw() -> str:
    parts = []
    for floor, (title, rooms) in enumerate(FLOORS):
        y = 10 + floor * (_HEIGHT + _GAP)
        parts.append(f'<text x="{_LABEL - 10}" y="{y + _HEIGHT / 2 + 4}" class="floor">{title}</text>')
        width = (_WIDTH - _LABEL - _GAP * (len(rooms) - 1)) / len(rooms)
        for number, (room, about) in enumerate(rooms.items()):
            x = _LABEL + number * (width + _GAP)
            parts.append(f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{_HEIGHT}" rx="4"/>')
            parts.append(f'<text x="{x + width / 2:.0f}" y="{y + 19}" class="room">{room}</text>')
            parts.append(f'<text x="{x + width / 2:.0f}" y="{y + 35}" class="about">{about}</text>')
    height = 10 + len(FLOORS) * (_HEIGHT + _GAP)
    style = (
        "rect{fill:#4a7fb5}text{font:12px sans-serif;text-anchor:middle}.floor{text-anchor:end;fill:#888}"
        ".room{fill:#fff;font-weight:bold}.about{fill:#e6eef6;font-size:11px}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"<title>The rooms of the package</title><style>{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(draw())
