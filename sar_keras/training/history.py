"""The figures of each epoch of a run: history.csv, and what is made of it."""

import csv
from pathlib import Path

from sar_keras.io.files import atomic
from sar_keras.models.terms import OF_DISCRIMINATOR, labels


def best_epoch(history: list[dict], figure: str) -> int | None:
    """The epoch of the best validation figure, "psnr" or "l1", the first of equals; None without validation."""
    values = {row["epoch"]: row[f"val_{figure}"] for row in history if f"val_{figure}" in row}
    return (max if figure == "psnr" else min)(values, key=lambda epoch: values[epoch]) if values else None


def write_history(history: list[dict], path: Path) -> None:
    columns = list(dict.fromkeys(name for row in history for name in row))
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


def read_history(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]


def plot_history(history: list[dict], path: Path) -> None:
    """Draw the loss curves: the generator's terms, the discriminator, and the held-out PSNR where there is one."""
    import matplotlib

    with matplotlib.rc_context({"font.size": 8}):
        from matplotlib.figure import Figure

        groups = [
            ("generator", [name for name in labels() if name not in OF_DISCRIMINATOR], "log"),
            ("discriminator", list(OF_DISCRIMINATOR), "linear"),
            ("validation PSNR (dB)", ["val_psnr"], "linear"),
        ]
        groups = [
            (title, [n for n in names if any(n in row for row in history)], scale) for title, names, scale in groups
        ]
        groups = [group for group in groups if group[1]]
        figure = Figure(figsize=(4 * len(groups), 3), layout="constrained")
        for axes, (title, names, scale) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
            for name in names:
                axes.plot([row["epoch"] for row in history], [row.get(name) for row in history], ".-", label=name)
            axes.set(title=title, xlabel="epoch", yscale=scale)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=150)
