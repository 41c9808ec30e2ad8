"""Times every registered method beside TSM-SL; writes that into the pages of methods.

``OMP_NUM_THREADS=1 python -m benchmarks.method_times`` measures; ``--report`` writes pages only.
Processor time of one fit, the least of two, over that of `tsm-sl` in the same run: coupons, 8,000
randomised and 20,000 logged rows, the default training with two members and one weight decay.
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
    return plain


def seconds(method, rows):
    """Return the processor seconds of one fit."""
    start = time.process_time()
    method.fit(rct=rows.rct, obs=rows.obs, validation=rows.validation)
    return time.process_time() - start


def measure():
    """Return the seconds of every name, the least of two rounds."""
    sizes = PartSizes(rct=8_000, obs=20_000, validation=2_000, test=100)
    rows = CouponSimulator(sizes=sizes).hybrid(seed=0)
    seconds(short("tsm-sl"), rows)  # what loads on first use
    found = {}
    for _ in range(2):
        for name in METHODS:
            found.setdefault(name, []).append(seconds(short(name), rows))
            print(name, found[name], flush=True)
    return {name: min(each) for name, each in sorted(found.items())}


def report(times):
    """Write "N times `tsm-sl`" behind each name of the pages' lines of cost."""

    def written(match):
        ratios = [f"`{name}` {times[name] / times['tsm-sl']:.1f}" for name in match[1].split(", ")]
        return f"<!-- times: {match[1]} -->{', '.join(ratios)}<!-- end -->"

    for page in PAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        new = re.sub(r"<!-- times: ([\w, -]+?) -->.*?<!-- end -->", written, text, flags=re.DOTALL)
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    if "--report" not in sys.argv:
        RESULTS.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    report(json.loads(RESULTS.read_text(encoding="utf-8")))
