"""Times every registered method beside TSM-SL; writes that into the pages of methods.

``OMP_NUM_THREADS=1 python -m benchmarks.method_times [NAME ...]`` measures all, or some;
``--report`` only writes the pages. Processor time of one fit over that of `tsm-sl` in the same run:
coupons, 8,000 randomised and 20,000 logged rows, the default training with two members and one
weight decay. Causal forests take minutes there: they grow 32 trees, not 256, on 1,000 and 2,500
rows, beside `tsm-sl` on these.
"""

import json
import re
import sys
import time
from pathlib import Path

from dfl.data import CouponSimulator, PartSizes
from dfl.methods import METHODS, AbstractNetworkMethod, Training
from dfl.methods.grounded import Grounded

RESULTS = Path(__file__).parent / "results" / "method_times.json"
PAGES = Path(__file__).parents[1] / "docs" / "methods"
TRAINING = Training(members=2, weight_decay=(0.5,))


def short(name):
    """Return a method with the same short training, also inside."""
    plain = METHODS.make(name)
    if isinstance(plain, AbstractNetworkMethod):
        return METHODS.make(name, training=TRAINING)
    if isinstance(plain, Grounded) or hasattr(plain, "base"):
        return METHODS.make(name, base=type(plain.base)(training=TRAINING))
    return METHODS.make(name, trees=32) if is_forest(name) else plain


def is_forest(name):
    """Say whether a method grows causal forests."""
    return name.startswith("tsm-cf")


def seconds(method, rows):
    """Return the processor seconds of one fit."""
    start = time.process_time()
    method.fit(rct=rows.rct, obs=rows.obs, validation=rows.validation)
    return time.process_time() - start


def measure(names):
    """Add to the results what each name takes, in fits of `tsm-sl`."""
    for forests, sizes in ((False, (8_000, 20_000)), (True, (1_000, 2_500))):
        asked = [name for name in sorted(names) if is_forest(name) is forests]
        if asked:
            parts = PartSizes(rct=sizes[0], obs=sizes[1], validation=2_000, test=100)
            _measure(asked, CouponSimulator(sizes=parts).hybrid(seed=0))


def _measure(names, rows):
    seconds(short("tsm-sl"), rows)  # what loads on first use
    usual = seconds(short("tsm-sl"), rows)
    for name in names:
        ratio = 1.0 if name == "tsm-sl" else seconds(short(name), rows) / usual
        found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        found[name] = round(ratio, 2)
        RESULTS.write_text(
            json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8"
        )
        print(name, found[name], flush=True)


def report(ratios):
    """Write "N times `tsm-sl`" behind each name of the pages' lines of cost."""

    def written(match):
        told = [f"`{name}` {ratios[name]:.1f}" for name in match[1].split(", ")]
        return f"<!-- times: {match[1]} -->{', '.join(told)} times `tsm-sl`.<!-- end -->"

    for page in PAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        new = re.sub(r"<!-- times: ([\w, -]+?) -->.*?<!-- end -->", written, text, flags=re.DOTALL)
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    asked = sys.argv[1:]
    if asked != ["--report"]:
        measure(asked or METHODS)
    report(json.loads(RESULTS.read_text(encoding="utf-8")))
