"""What the API description says besides the calls and their types: of the whole, of groups of calls, by example."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

from sidecar.doors.native.examples import EXAMPLES
from sidecar.doors.native.parameters import IN_PATH, IN_QUERY
from sidecar.doors.wire.endpoint import Call
from sidecar.doors.wire.openapi import About, Document, Words, describe

TAGS: Final = {
    "decisions": "May it be done? What a permit holds is settled, released, or expires.",
    "tenants": "Isolated organisations, each with its own audit log.",
    "identities": "Who acts, and for whom: every identity chain ends at the tenant's root.",
    "policies": "What is granted and what is restricted, as JSON rules or as Cedar.",
    "budgets": "Limits on what an identity may use in a window.",
    "treasury": "Cards: references with limits, frozen one by one or all below an identity at once.",
    "accounts": "What identities hold in the ledger of the sidecar: multi-asset, double entry.",
    "payments": "Payments between accounts, each decided, reserved, moved and settled in one transaction.",
    "grants": "What a wallet's owner lets an agent pay, in force once the owner's passkey has signed it.",
    "passkeys": "With which wallets' owners sign: WebAuthn credentials of identities.",
    "reservations": "What a control plane decides and holds for a decision of its follower; for followers only.",
    "tokens": "What callers authenticate with.",
    "webhooks": "Endpoints that are told what happens, signed after Standard Webhooks.",
    "audit": "The hash-chained log of everything that was decided and changed.",
    "feed": "What servers that follow this one are told, so that they decide beside their agents.",
    "followers": "Servers that decide by what a control plane tells them, and how they stand with it.",
    "operations": "For whoever runs the process; no token is needed.",
}
"""Groups of calls, in the order in which they are shown."""

_DESCRIPTION: Final = """\
Decides whether an agent may do what it is about to do: it walks the identity chain to the accountable human, evaluates
Cedar policies, reserves every budget on the chain, records the decision in a hash-chained log, and answers.

- Amounts are exact: JSON numbers or decimal texts in major units, read from their text and never as binary floats.
- Times are RFC 3339 in UTC. Unknown fields are refused.
- The tenant may be left out wherever the token implies it.
- Lists come in pages: `next_cursor` is the `cursor` of the next call, null at the end.
- More fields may be added to answers; none goes."""


def description(calls: Iterable[Call]) -> Document:
    """Return the OpenAPI document of ``calls``."""
    about = About("Agent authorization sidecar", version("agent-authorization-sidecar"), _DESCRIPTION, TAGS)
    return describe(about, calls, Words(IN_PATH, IN_QUERY, EXAMPLES))
