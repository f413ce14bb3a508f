"""What all examples share: one tenant, its agent, and ids as the sidecar makes them."""

from typing import Any, Final

AT: Final = "2026-03-09T12:00:00Z"
AGENT: Final = "agent-procurement"
ROOT: Final = "ann@acme.example"
POLICY_ID: Final = "pol_01K9Z3J4M5N6P7Q8R9S0T1V2W3"
BUDGET_ID: Final = "bud_01K9Z3J4M5N6P7Q8R9S0T1V2W4"
TOKEN_ID: Final = "tok_01K9Z3J4M5N6P7Q8R9S0T1V2W5"  # noqa: S105 -- an id, no secret
DECISION_ID: Final = "dec_01K9Z3J4M5N6P7Q8R9S0T1V2W6"
CARD_ID: Final = "card_01K9Z3J4M5N6P7Q8R9S0T1V2W7"
WEBHOOK_ID: Final = "wh_01K9Z3J4M5N6P7Q8R9S0T1V2W8"
EVENT_ID: Final = "evt_01K9Z3J4M5N6P7Q8R9S0T1V2W9"
ACCOUNT_ID: Final = "acct_01K9Z3J4M5N6P7Q8R9S0T1V2WA"
PAYMENT_ID: Final = "pay_01K9Z3J4M5N6P7Q8R9S0T1V2WB"
GRANT_ID: Final = "grt_01K9Z3J4M5N6P7Q8R9S0T1V2WC"
PASSKEY_ID: Final = "pk_01K9Z3J4M5N6P7Q8R9S0T1V2WD"
CARD_PROGRAM_ID: Final = "cprg_01K9Z3J4M5N6P7Q8R9S0T1V2WE"
POLICY_REVISION: Final = "sha256:9526558617ad1eb271da76f249ea3222fb16d1531f3f304ab3edf25b842e9e08"
HASH: Final = "8RVyvajMZtbbkVmPWkPJkJ5kZH6F8uSj0EyNVCZKBnQ"
FACT: Final = "V6KuhmDNKdMPzroH5ylQX5mMSRGpzbiZNE7nab5K2W8"


def page(*values: object) -> dict[str, Any]:
    """Return the only page of a list."""
    return {"data": list(values), "next_cursor": None}
