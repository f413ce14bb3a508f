"""Whether the card programs hold together: the part of the check that concerns whose messages are believed."""

from collections.abc import Collection, Iterator

from sidecar.state.card_programs import read_enrolled
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import every_row


def check_card_programs(txn: Txn, tables: dict[str, Table], tenants: Collection[int]) -> Iterator[str]:
    """Yield a sentence for each card program that does not hold; no sentence has a secret."""
    places: set[int] = set()
    for key, row in every_row(txn, tables["card_programs"]):
        tenant, place, program = read_enrolled(row)
        name = f"card program `{program.program_id}`"
        if key != program.program_id.encode():
            yield f"{name} lies under another id"
        if tenant not in tenants:
            yield f"{name} belongs to tenant {tenant}, which does not exist"
        if place in places:
            yield f"{name} has the place of another one"
        if (program.former_secret is None) != (program.former_until_us is None):
            yield f"the former secret of {name} has no end, or an end without it"
        places.add(place)
