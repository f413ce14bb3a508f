"""The kinds of records that an audit log can hold, and which of them tell of a step of their tenant's revision."""

from typing import Final

RAISING: Final = frozenset(
    f"{of}_{change}"
    for of, changes in {
        "identity": ("created", "updated", "suspended", "revoked"),
        "budget": ("created", "updated", "deleted"),
        "card": ("created", "frozen", "unfrozen", "closed"),
        "policy": ("created", "deleted"),
        "token": ("created", "updated", "rotated", "revoked"),
        "account": ("created", "closed"),
        "grant": ("created", "approved", "revoked"),
        "passkey": ("created", "deleted"),
    }.items()
    for change in changes
) | {"kill_switch", "tenant_updated"}
"""Kinds of records that each tell of one step of the tenant's revision."""

KINDS: Final = (
    RAISING
    | {f"webhook_{change}" for change in ("created", "updated", "rotated", "disabled", "deleted")}
    | {f"card_program_{change}" for change in ("created", "rotated", "deleted")}
    | {"open", "decision", "settle", "release", "refund", "expire", "clock_event", "policies_loaded", "followed"}
    | {"reservation_conflict", "follower_alarm"}
    | {"deposit", "withdrawal", "payment"}
    | {"card_event", "forced", "restate"}
)
"""All kinds of records: one that is not known might change what nobody here would notice."""
