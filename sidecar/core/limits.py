"""Every limit that is not the business of one module alone, each a named constant with its reason.

A request over a limit is answered with a clear 4xx; a stored thing over one cannot exist.
"""

from typing import Final

BODY_BYTES_MAX: Final = 64 * 1024
"""One request; a decision needs well under 4 KiB, so this only stops waste and attacks."""

BATCH_REQUESTS_MAX: Final = 100
"""Requests of one batch: they are decided one after the other while nobody else can write."""

BATCH_BODY_BYTES_MAX: Final = 256 * 1024
"""One batch: 2.5 KiB for each of its requests, several times what a decision needs."""

JSON_DEPTH_MAX: Final = 16
"""Nesting of a request body; the deepest documented shape uses 5."""

CHAIN_DEPTH_MAX: Final = 32
"""Identities from a leaf to the tenant root, both counted; bounds the walk and the audit record."""

BUDGETS_PER_CHAIN_MAX: Final = 64
"""Budgets that one request can claim; bounds the write transaction and the audit record."""

METADATA_BYTES_MAX: Final = 2 * 1024
"""Metadata of one identity as canonical JSON; it becomes Cedar tags that every decision below it carries."""

QUANTITIES_MAX: Final = 16
"""Named quantities in one request; bounds the audit record."""

POLICIES_PER_TENANT_MAX: Final = 10_000
"""Policies made by the API in one tenant."""

POLICY_BYTES_PER_TENANT_MAX: Final = 16 * 1024 * 1024
"""Policy text made by the API in one tenant; bounds the memory of every worker."""

LIST_LIMIT_MAX: Final = 200
"""Items on one page of a list."""

LIST_LIMIT_DEFAULT: Final = 50
"""Items on a page when the caller names no limit."""

VERIFY_ENTRIES_MAX: Final = 200_000
"""Audit records checked by one call over HTTP: some ten seconds of work, in a thread."""

QUANTITY_MAX: Final = 10**15
"""A quantity or a limit of one; sums of many stay below 2^63."""

RESERVATION_TTL_SECONDS_DEFAULT: Final = 604_800
"""How long a hold lives unless asked: 7 days, the common life of a card authorization."""

RESERVATION_TTL_SECONDS_MAX: Final = 31 * 86_400
"""Card captures arrive up to 31 days after the authorization; nothing needs longer."""

IDEMPOTENCY_KEY_LENGTH_MAX: Final = 255
"""As the field's large payment APIs have it."""

IDEMPOTENCY_LIFE_SECONDS: Final = 86_400
"""How long a stored answer is kept for a retry."""

GRACE_SECONDS_MAX: Final = 7 * 86_400
"""How long a rotated token's last secret may open on: time for a weekly roll-out, and no second permanent secret."""

AUDIT_BODY_BYTES_MAX: Final = 65_535
"""A C2SP entry bundle counts an entry's bytes in 16 bits."""

SHIPMENT_BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""One batch of a follower's audit records: four times what followers gather, so that a long fact fits as well."""

SHIPPED_RECORDS_MAX: Final = 500
"""Audit records in one batch of a follower: some 20 ms of checks, in a thread."""

SHIPPED_USAGES_MAX: Final = 1_000
"""Budgets whose usage a follower tells at once: one record can claim ``BUDGETS_PER_CHAIN_MAX`` more than it aims at."""
