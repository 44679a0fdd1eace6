"""How often the 95 % interval of a median encloses the true median, for several n: a Markdown row.

python benchmarks/interval_coverage.py
"""

import math

import numpy

from otel_kfs.analysis.statistics import INTERVAL_NEEDS, median_interval

COLUMNS = 1500
TRUE = math.exp(17)  # ns, the median of the log-normal lengths below

random = numpy.random.default_rng(3)
sizes = [INTERVAL_NEEDS, 8, 9, 10, 11, 15, 20, 30, 50, 100, 1000]
shares = []
for n in sizes:
    found = [median_interval(numpy.rint(random.lognormal(17, 1, n)).astype("int64")) for _ in range(COLUMNS)]
    shares.append(sum(low <= TRUE <= high for low, high in found) / COLUMNS)
print("| n | " + " | ".join(map(str, sizes)) + " |")
print("|:--|" + "--:|" * len(sizes))
print("| encloses it in | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
