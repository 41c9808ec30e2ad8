"""
Segments as a tree
==================

A tree of depth 2, grown to spend a budget best, and what each leaf earns under every treatment. A
tree splits even where there is little to find: ``x14`` does nothing in this simulator, and the
two leaves under it are alike in the table, which other rows have filled. What such a plan costs
against deciding for everyone alone is measured on the page on segments.
"""

import matplotlib.pyplot as plt

from dfl.data import CouponSimulator, PartSizes
from dfl.methods import PolicyTree, Training, TsmSl

sizes = PartSizes(rct=30_000, obs=100, validation=1_000, test=100)
rows = CouponSimulator(sizes=sizes).hybrid(seed=0)
quick = Training(epochs=3, min_steps=100, members=1, weight_decay=(0.5,))
method = PolicyTree(base=TsmSl(rows="rct", training=quick), depth=2)
model = method.fit(rct=rows.rct, validation=rows.validation)
tree, table = model.segmenter, model.table

figure, axes = plt.subplots(figsize=(8, 4.2))
names = rows.rct.treatment_names


def place(node, left, right, level):
    """Draw a node in the middle of its part of the width, and what hangs below it."""
    middle = (left + right) / 2
    inner = len(tree.feature)
    if node >= inner:
        leaf = int(tree.leaf[node - inner])
        money = "\n".join(
            f"{name}: {float(revenue):.1f} for {float(cost):.2f}"
            for name, revenue, cost in zip(
                names, table.revenue[leaf], table.cost[leaf], strict=True
            )
        )
        axes.text(middle, -level, money, ha="center", va="top", fontsize=8, bbox={"fc": "white"})
        return
    split = (
        f"{rows.rct.feature_names[int(tree.feature[node])]} > {float(tree.threshold[node]):.2f}?"
    )
    for child, low, high, word in (
        (2 * node + 1, left, middle, "no"),
        (2 * node + 2, middle, right, "yes"),
    ):
        axes.plot([middle, (low + high) / 2], [-level, -level - 1], color="black", linewidth=1)
        axes.text(
            (middle + (low + high) / 2) / 2,
            -level - 0.5,
            word,
            ha="center",
            backgroundcolor="white",
        )
        place(child, low, high, level + 1)
    axes.text(middle, -level, split, ha="center", va="center", bbox={"fc": "white"})


place(0, 0, 1, 0)
axes.set(xlim=(0, 1), ylim=(-3.2, 0.3), title="revenue for cost per head, under each discount")
axes.axis("off")
plt.show()
