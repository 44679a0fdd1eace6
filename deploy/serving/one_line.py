"""A model server's log, each entry one line, its traceback included: what collects a container's log cuts at lines."""

import logging

# Warnings of libraries are two lines, and go past the log unless they are asked into it.
logging.captureWarnings(True)


class OneLine(logging.Formatter):
    """The usual line, with what would end it written as it is in a string."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry's line."""
        return super().format(record).strip().replace("\n", "\\n")
