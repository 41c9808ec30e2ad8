"""
Worlds and methods
==================

Share of the oracle's gain over the best constant mix, in simulated worlds that each break one
assumption; 0 is the mix, 1 the oracle. Not drawn again here: the numbers are those of the
measured table in "When does it pay?", which says how many seeds each rests on and gives paired
intervals.
"""

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

page = Path(sys.argv[0]).resolve().parents[1] / "when_does_it_pay.md"
found = (
    page.read_text(encoding="utf-8").partition("## Worlds")[2].partition("<!-- worlds: end -->")[0]
)
lines = [line.strip("| \n").split(" | ") for line in re.findall(r"^\| .*\|$", found, re.MULTILINE)]
head, cells = lines[0], lines[1:]
methods = head[2:6]
share = np.array([[float(one) for one in line[2:6]] for line in cells])
worlds = [f"{line[0]} ({line[1]})" for line in cells]

figure, axes = plt.subplots(figsize=(7, 5.2))
shown = axes.imshow(share, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
axes.set_xticks(range(len(methods)), methods, rotation=20, ha="right")
axes.set_yticks(range(len(worlds)), worlds)
for (row, column), value in np.ndenumerate(share):
    axes.text(
        column,
        row,
        f"{value:.2f}",
        ha="center",
        va="center",
        color="white" if abs(value) > 0.6 else "black",
    )
figure.colorbar(shown, label="share of the oracle's gain")
axes.set_title("world (seeds)", loc="left", fontsize="medium")
plt.show()
