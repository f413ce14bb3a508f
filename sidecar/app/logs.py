"""Structured logs.

One JSON object a line on standard error, with constant event names and everything else as fields.
"""

import logging
import re
import sys
from collections.abc import MutableMapping

import structlog

SECRET = re.compile(r"\b((?:sk_live|sk_test|at_live|at_dev|fw)_[A-Z2-7]{10})_[0-9A-Za-z_]+")


SIGNING_SECRET = re.compile(r"\bwhsec_[^\s\"'`,]+")


def set_up_logs(level: str) -> None:
    """Send the logs of this process, libraries' included, to standard error from ``level`` on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask_secrets,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=max(number, logging.WARNING), force=True)


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Cut every token that found its way into a field down to its public part."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = SIGNING_SECRET.sub("whsec_…", SECRET.sub(r"\1_…", value))
    return event
