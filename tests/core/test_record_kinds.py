"""Every kind of record that something writes is known to whoever reads a log."""

import re
from pathlib import Path

from sidecar import service
from sidecar.core.record_kinds import KINDS, RAISING


def test_every_kind_that_a_service_writes_is_known() -> None:
    """The names stand in the services; those of notices and of holds are few."""
    verbs = "created|updated|suspended|revoked|deleted|frozen|unfrozen|closed|rotated|disabled|approved"
    texts = [file.read_text(encoding="utf-8") for file in Path(service.__file__).parent.glob("*.py")]
    written = {kind for text in texts for kind in re.findall(rf'"([a-z_]+_(?:{verbs}))"', text)}
    others = {"open", "decision", "settle", "release", "refund", "expire", "followed"}
    moved = {"deposit", "withdrawal", "payment"}
    others |= {"follower_alarm", "card_event", "forced", "restate"}
    assert written | others | moved | {"kill_switch", "clock_event", "policies_loaded", "reservation_conflict"} == KINDS


def test_what_moves_a_tenants_revision_is_a_kind_of_record() -> None:
    assert RAISING < KINDS
