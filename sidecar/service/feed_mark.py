"""How far a log had come when something was told of it, and whether a log continues one that had come so far.

A record's hash stands for all records before it, so a log that has the record has all that whoever names it was told
of. A store that was put back to an older state and then went on otherwise does not have it, whatever its revision.
"""

from sidecar.core.audit import encode_hash, link_of
from sidecar.core.errors import Conflict
from sidecar.core.model import AuditMark
from sidecar.service.log_store import LogReader


def mark_of(log: LogReader) -> AuditMark:
    """Return where a log ends, which has a record at least."""
    head = log.head()
    return AuditMark(head.next_index - 1, encode_hash(head.link))


def require_continued(log: LogReader, mark: AuditMark | None) -> None:
    """Raise Conflict where a mark is not one of this log's; None is one of every log's."""
    if mark is None or mark == mark_of(log):
        return
    found = next(log.read(mark.seq, 1), None)
    if found is None or (found[0], encode_hash(link_of(found[1]))) != (mark.seq, mark.hash):
        message = "the asker was told of records that are not here: this store was restored or is another one"
        raise Conflict(message, field="mark")
