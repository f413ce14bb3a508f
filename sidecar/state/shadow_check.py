"""Whether what was found with shadow policies holds together: the part of the check that concerns differences."""

from collections.abc import Iterator

from sidecar.core.shadow import DIFFERENCES_MAX
from sidecar.state.codec import U32, U64
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import tenant_rows
from sidecar.state.shadow import Shadows, read_difference


def check_shadow(txn: Txn, tables: dict[str, Table], number: int) -> Iterator[str]:
    """Yield a sentence for each kept difference of a tenant that does not hold, and for a tally that cannot be."""
    places = []
    for key, value in tenant_rows(txn, tables["shadow_differences"], number):
        difference = read_difference(value)
        places.append(U64.unpack(key)[0])
        if difference.live.allowed == difference.shadow.allowed:
            yield f"the difference {places[-1]} is none"
        if txn.get(U32.pack(number) + U64.pack(difference.seq), db=tables["audit"]) is None:
            yield f"the difference {places[-1]} is about record {difference.seq}, which does not exist"
    tally = Shadows(txn, tables, number).tally()
    counted = tally.allow_to_deny.count + tally.deny_to_allow.count
    kept = min(counted, DIFFERENCES_MAX)
    if places != list(range(counted - kept + 1, counted + 1)):
        yield f"{len(places)} differences are kept, counted are {counted}"
