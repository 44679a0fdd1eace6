"""An outage is logged once, not per retry."""

import logging

from otel_kfs.client import outage_log
from otel_kfs.client.outage_log import OutageLog


def test_an_outage_is_warned_of_once_and_after_a_minute_without_a_failure_again(caplog, monkeypatch):
    now = 0.0
    monkeypatch.setattr(outage_log.time, "monotonic", lambda: now)
    outages = OutageLog(logging.getLogger("a test"), "no broker reached at b:1")
    # Every ten seconds for an hour, and then, after two minutes of quiet, once more.
    for moment in [*range(0, 3600, 10), 3720]:
        now = float(moment)
        outages.report(f"refused at {moment} s")
    assert [record.getMessage() for record in caplog.records] == [
        "no broker reached at b:1, trying again: refused at 0 s",
        "no broker reached at b:1, trying again: refused at 3720 s",
    ]
