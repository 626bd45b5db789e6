"""The pictures of the explanations, drawn while the documentation is built: `python docs/pictures.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt


def draw(folder: Path) -> None:
    """Draw every picture into `folder`."""
    for name, picture in PICTURES.items():
        figure = picture()
        figure.savefig(folder / f"{name}.png", dpi=130)
        plt.close(figure)


PICTURES = {}

if __name__ == "__main__":
    draw(Path(sys.argv[1]))
