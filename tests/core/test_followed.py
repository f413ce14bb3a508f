"""The list of what was followed is read as it was written, and nothing else is read as one."""

import pytest

from sidecar.core.errors import ValidationFailed
from sidecar.core.followed import FollowedRecord, read_followed, write_followed


def test_a_list_is_read_as_it_was_written() -> None:
    records = (
        FollowedRecord("identity", "bob", 3, "A" * 43, 2, "root"),
        FollowedRecord("card", "card_1", 4, None, 0, None),
    )
    written = write_followed(records)
    assert written == b'[["identity","bob",3,"' + b"A" * 43 + b'",2,"root"],["card","card_1",4,null,0,null]]'
    assert read_followed(written) == records


@pytest.mark.parametrize("content", [b"", b"{}", b"[[]]", b'[["kind","a",1,null,0,null]]'])
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(ValidationFailed, match="no list of what was followed"):
        read_followed(content)
