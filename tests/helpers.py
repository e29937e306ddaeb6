import csv
from pathlib import Path

# Networks and images small enough for seconds; everything else is what a user's run has.
TINY = [
    "data.image_size=64",
    "data.limit=24",
    "model.filters=4",
    "model.discriminator_filters=4",
    "loss.perceptual_layer=block1_conv1",
    "train.steps_per_epoch=3",
    "train.epochs=2",
    "train.precision=float32",
]


def read_rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def one_line(text: str) -> str:
    """The only line of an error message, warnings apart."""
    lines = [line for line in text.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
