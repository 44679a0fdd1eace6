"""How often the 95 % interval of a median, and that of a difference of two, encloses the true one: Markdown rows.

python benchmarks/interval_coverage.py
"""

import math

import numpy

from otel_kfs.analysis.statistics import INTERVAL_NEEDS, difference_interval, median_interval

COLUMNS = 1500
TRUE = math.exp(17)  # ns, the median of the log-normal lengths below

random = numpy.random.default_rng(3)


def durations(n):
    return numpy.rint(random.lognormal(17, 1, n)).astype("int64")


sizes = [INTERVAL_NEEDS, 8, 9, 10, 11, 15, 20, 30, 50, 100, 1000]
shares = []
for n in sizes:
    found = [median_interval(durations(n)) for _ in range(COLUMNS)]
    shares.append(sum(low <= TRUE <= high for low, high in found) / COLUMNS)
print("| n | " + " | ".join(map(str, sizes)) + " |")
print("|:--|" + "--:|" * len(sizes))
print("| encloses it in | " + " | ".join(f"{share:.1%}" for share in shares) + " |")

pairs = [(6, 6), (8, 8), (20, 20), (7, 9), (10, 30), (20, 200), (6, 1000), (8, 500), (7, 100)]
shares = []
for n, other in pairs:
    found = [difference_interval(durations(n), durations(other)) for _ in range(COLUMNS)]
    shares.append(sum(low <= 0 <= high for low, high in found) / COLUMNS)
print("\n| n of A and B | " + " | ".join(f"{n}, {other}" for n, other in pairs) + " |")
print("|:--|" + "--:|" * len(pairs))
print("| encloses it in | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
