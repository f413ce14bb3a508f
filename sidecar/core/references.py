"""What facts the records of a log lead to: directly, and by way of a fact that names others."""

from collections.abc import Iterator

from sidecar.core.followed import read_followed
from sidecar.core.history import Changed, Decided, Event, Followed, Forced
from sidecar.core.manifests import read_manifest


def addresses(event: Event) -> Iterator[str]:
    """Yield the addresses of the facts that a record refers to, in a fixed order, without ``inner_addresses``."""
    match event:
        case Decided():
            yield event.request
            yield event.policies
            yield from (each[2] for each in (*event.chain, *event.others, *event.cards))
            yield from (each[2] for each in event.budgets)
        case Forced():
            yield event.policies
            yield from (each[2] for each in (*event.chain, *event.cards))
            yield from (each[2] for each in event.budgets)
        case Changed():
            yield from (each[2] for each in (*event.chain, *event.budgets, *event.cards))
            if event.kind == "policy_created" and event.text is not None:
                yield event.text
        case Followed():
            yield event.changes
        case _:
            return


def inner_addresses(event: Event, address: str, content: bytes) -> tuple[str, ...]:
    """Return the addresses that a fact of a record leads to itself: the texts of a manifest, versions of a list.

    Raises ValidationFailed for a manifest or a list that is none.
    """
    if isinstance(event, Decided | Forced) and address == event.policies:
        found = read_manifest(content)
        return (*(each[1] for each in (*found.schemas, *found.files)), *(each.text for each in found.api))
    if isinstance(event, Followed):
        return tuple(record.fact for record in read_followed(content) if record.fact)
    return ()
