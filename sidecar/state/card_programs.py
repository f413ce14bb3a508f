"""Card programs with their secrets, in a table of their own that nothing else reads: no list, record or feed has one.

They lie by their ids, whatever their tenant, since a message says whose it is by its signature only. There are some
hundreds at most, so whatever is not looked for by id is found by reading all.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from sidecar.core.card_programs import is_over, without_former
from sidecar.service.card_program_store import Enrolled
from sidecar.state.codec import encode, key_text, reading
from sidecar.state.environment import Table, Txn

read_enrolled: Final = reading(msgspec.msgpack.Decoder(Enrolled))


class CardPrograms:
    """The card programs of every tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._programs = tables["card_programs"]

    def find(self, program_id: str) -> Enrolled | None:
        """Return the program with this id."""
        key = key_text(program_id)
        data = None if key is None else self._txn.get(key, db=self._programs)
        return None if data is None else read_enrolled(bytes(data))

    def all(self) -> Iterator[Enrolled]:
        """Yield every program in order of creation."""
        with self._txn.cursor(db=self._programs) as cursor:
            found = [read_enrolled(bytes(data)) for data in cursor.iternext(keys=False)]
        yield from sorted(found, key=_place)

    def keep(self, enrolled: Enrolled) -> None:
        """Store a program, new or changed."""
        self._txn.put(enrolled.program.program_id.encode(), encode(enrolled), db=self._programs)

    def forget(self, program_id: str) -> None:
        """Remove a program with its secrets."""
        self._txn.delete(program_id.encode(), db=self._programs)


def _place(enrolled: Enrolled) -> int:
    return enrolled.place


def forget_former(txn: Txn, tables: dict[str, Table], now_us: int, most: int) -> int:
    """Forget up to ``most`` replaced secrets that open nothing any more; returns how many."""
    programs = CardPrograms(txn, tables)
    over = list(islice((each for each in programs.all() if is_over(each.program, now_us)), most))
    for each in over:
        programs.keep(each._replace(program=without_former(each.program)))
    return len(over)
