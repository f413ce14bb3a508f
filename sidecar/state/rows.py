"""Rows as the checks of a store read them: a table once for one tenant, or once for all of them."""

from collections.abc import Iterator

from sidecar.state.codec import U32
from sidecar.state.environment import Table, Txn


def tenant_rows(txn: Txn, table: Table, number: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of the tenant with this number, keys without it."""
    prefix = U32.pack(number)
    with txn.cursor(db=table) as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            yield bytes(cursor.key())[len(prefix) :], bytes(cursor.value())
            found = cursor.next()


def every_row(txn: Txn, table: Table) -> Iterator[tuple[bytes, bytes]]:
    """Yield every row of a table."""
    with txn.cursor(db=table) as cursor:
        for key, value in cursor:
            yield bytes(key), bytes(value)
