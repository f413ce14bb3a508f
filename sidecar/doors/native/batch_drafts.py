"""From the body of a batch to its items: each is checked as a request of its own, and its mistakes say which it is."""

from sidecar.core.errors import TooLarge, ValidationFailed, inside
from sidecar.core.limits import BODY_BYTES_MAX
from sidecar.doors.native import drafts, shapes
from sidecar.service.batch import Item


def items(body: shapes.BatchBody) -> tuple[Item, ...]:
    """Return the items. Raises ValidationFailed with a field such as ``requests[3].resource.amount``.

    Raises TooLarge, naming the item, for one that is longer than a request of its own may be.
    """
    found = []
    for index, request in enumerate(body.requests):
        with inside(f"requests[{index}]"):
            if request.dry_run and not body.dry_run:
                raise ValidationFailed("a batch is a dry run as a whole or not at all", field="dry_run")
            item = Item(drafts.authorize(request), request.explain)
        if len(item.request.canonical()) > BODY_BYTES_MAX:
            raise TooLarge(f"one request has at most {BODY_BYTES_MAX} bytes", field=f"requests[{index}]")
        found.append(item)
    return tuple(found)


def tenant_id(body: shapes.BatchBody) -> str | None:
    """Return the tenant that the batch or its items name. Raises ValidationFailed when they differ."""
    named = body.tenant_id
    for index, request in enumerate(body.requests):
        if request.tenant_id is not None and named is not None and request.tenant_id != named:
            raise ValidationFailed("a batch is of one tenant", field=f"requests[{index}].tenant_id")
        named = named or request.tenant_id
    return named
