"""What stands in paths and queries, as types: by name, and by path and name where one name means several things.

For the description of the API only: the values are checked by ``sidecar.doors.wire.query`` and by the services.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

from msgspec import Meta

from sidecar.core.accounts import AccountStatus
from sidecar.core.cards import CardStatus
from sidecar.core.directory import Status
from sidecar.core.grammar import (
    AccountId,
    ActionName,
    BudgetId,
    CallerId,
    CardId,
    CardProgramId,
    Currency,
    DecisionId,
    GrantId,
    IdentityId,
    Instant,
    Name,
    PasskeyId,
    PaymentId,
    PolicyId,
    TenantId,
    TokenId,
    TypeName,
    WebhookId,
)
from sidecar.core.grants import ShownStatus
from sidecar.core.limits import LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX
from sidecar.core.payments import PaymentStatus
from sidecar.core.shadow import Direction

_PLACE: Final = {"minimum": 0, "maximum": 2**53 - 1}

IN_PATH: Final[Mapping[str, object]] = MappingProxyType(
    {
        "tenant_id": TenantId,
        "identity_id": IdentityId,
        "policy_id": PolicyId,
        "budget_id": BudgetId,
        "decision_id": DecisionId,
        "card_id": CardId,
        "program_id": CardProgramId,
        "token_id": TokenId,
        "webhook_id": WebhookId,
        "grant_id": GrantId,
        "passkey_id": PasskeyId,
        "account_id": AccountId,
        "payment_id": PaymentId,
        "follower_id": TokenId,
    }
)
"""Parameters of paths."""

IN_QUERY: Final[Mapping[str, object]] = MappingProxyType(
    {
        "tenant_id": TenantId,
        "limit": Annotated[
            int,
            Meta(
                description=f"items on the page, {LIST_LIMIT_DEFAULT} unless said",
                extra_json_schema={"minimum": 1, "maximum": LIST_LIMIT_MAX, "default": LIST_LIMIT_DEFAULT},
            ),
        ],
        "cursor": Annotated[str, Meta(description="the `next_cursor` of the page before")],
        "/v1/snapshot?cursor": Annotated[str, Meta(description="the `cursor` of the last mark that was read")],
        "since": Annotated[int, Meta(description="changes after this revision", extra_json_schema=_PLACE)],
        "mark": Annotated[
            str,
            Meta(
                description="`seq` and `hash`, with a colon between, of the `mark` of the last page or snapshot that"
                " was taken: 409 where the log does not have that record any more",
                pattern="^(0|[1-9][0-9]{0,15}):[A-Za-z0-9_-]{43}$",
            ),
        ],
        "files": Annotated[
            str, Meta(description="the `files_digest` of the policy files that are known", pattern="^[0-9a-f]{64}$")
        ],
        "wait": Annotated[
            int,
            Meta(description="seconds to wait for a change", extra_json_schema={"minimum": 0, "maximum": 30}),
        ],
        "identity_id": IdentityId,
        "card_id": CardId,
        "/v1/treasury/cards?status": Annotated[CardStatus, Meta(description="what holds for the card")],
        "account_id": Annotated[AccountId, Meta(description="either side of the payment")],
        "sender_id": Annotated[IdentityId, Meta(description="the owner of the account that was paid from")],
        "receiver_id": Annotated[IdentityId, Meta(description="the owner of the account that was paid to")],
        "asset": Currency,
        "currency": Currency,
        "network": Annotated[CallerId, Meta(description="where the account is kept", examples=["internal"])],
        "/v1/accounts?status": Annotated[AccountStatus, Meta(description="whether the account is open")],
        "/v1/grants?account_id": Annotated[AccountId, Meta(description="the wallet that is paid from")],
        "/v1/grants?status": Annotated[ShownStatus, Meta(description="what holds for the grant now")],
        "/v1/payments?status": Annotated[PaymentStatus, Meta(description="how far the payment has come")],
        "parent_id": Annotated[IdentityId, Meta(description="those right below this identity")],
        "type": TypeName,
        "external_id": Name,
        "status": Annotated[Status, Meta(description="their own status, whatever their ancestors have")],
        "action": ActionName,
        "verdict": Annotated[Literal["allow", "deny"], Meta(description="decisions with this verdict")],
        "direction": Annotated[Direction, Meta(description="from the verdict that was to that of the shadow policies")],
        "follower_id": Annotated[
            TokenId, Meta(description="records that this follower has shipped, not the tenant's own")
        ],
        "origin": Annotated[str, Meta(description="a log of the follower by its name, the newest one unless said")],
        "from": Annotated[Instant, Meta(description="recorded at this time or later")],
        "to": Annotated[Instant, Meta(description="recorded before this time")],
        "from_seq": Annotated[int, Meta(description="the first record to check", extra_json_schema=_PLACE)],
        "to_seq": Annotated[int, Meta(description="the last record to check", extra_json_schema=_PLACE)],
    }
)
"""Fields of queries. A key such as `/v1/things?status` goes before `status`."""
