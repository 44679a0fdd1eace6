"""What was measured and left out, in one line."""

from collections import Counter

from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.report.coverage_lines import coverage_line


def test_the_account_says_everything_in_one_line():
    account = Coverage(measured=8, left_out=Counter({"warm-up": 4, "no server span": 1}), retried=2, redelivered=1)
    assert coverage_line(account) == (
        "8 images measured; 1 left out: no server span; 4 left out: warm-up; 2 with retries; 1 redelivered"
    )


def test_the_account_says_nothing_of_what_did_not_happen():
    assert coverage_line(Coverage(measured=8)) == "8 images measured"


def test_of_very_many_reasons_the_commonest_are_named():
    many = Counter({f"`{number}{'x' * 999}` is out of order": number for number in range(1, 30)})
    line = coverage_line(Coverage(left_out=many))
    assert (line.count(" left out: `2"), line.count("x...;"), line.endswith("; 231 left out for 21 other reasons")) == (
        8,
        8,
        True,
    )


def test_what_a_stamps_file_names_in_vain_is_told_with_what_to_do():
    lacking = Counter({"`order.itemz` (size)": 8, "`payment.method` (group)": 2})
    assert coverage_line(Coverage(measured=8, what="path", lacking=lacking)) == (
        "8 paths measured; none of the stamps' spans has `order.itemz` (size): correct the name in the stamps file, or "
        "add a stamp for a span that has it; 2 without `payment.method` (group)"
    )
