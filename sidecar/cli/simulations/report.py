"""How a simulation is told: line by line for people while it runs, or as one JSON object at the end.

The keys of the JSON are a contract: they are added, never renamed or taken away.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import click
import orjson

from sidecar.cli.shown import plain
from sidecar.cli.simulations.firing import Exchange
from sidecar.core.currencies import places
from sidecar.core.instants import utc_text
from sidecar.core.money import major_text


def tell(exchanges: Iterable[Exchange], currency: str, *, shows_bodies: bool) -> tuple[int, int]:
    """Print each exchange as it comes, then the sum; return how many there were and how many were wrong."""
    sent = wrong = shown = 0
    for each in exchanges:
        sent, wrong = sent + 1, wrong + (each.fault is not None)
        if each.purchase != shown:
            shown = each.purchase
            click.echo(f"purchase {each.purchase} `{each.course}`, authorization {each.authorization_id}")
        click.echo(_line(each, currency))
        if shows_bodies:
            click.echo(f"    > {plain(each.message.body.decode())}")
            click.echo(f"    < {plain(each.said)}")
    click.echo(f"{sent} messages, {sent - wrong} answered as the protocol says, {wrong} not")
    return sent, wrong


def _line(each: Exchange, currency: str) -> str:
    time_of_day = utc_text(each.sent_at_us)[11:23]
    amount = f"{Decimal(each.message.amount_minor).scaleb(-places(currency))} {currency}"
    kind = f"{each.message.type}{' (again)' if each.is_repeated else ''}"
    return f"  {time_of_day}  {kind:<46} {amount:>16}  {each.latency_ms:7.1f} ms  {_answer(each)}"


def _answer(each: Exchange) -> str:
    if each.fault is not None:
        status = "" if each.status is None else f"{each.status} "
        return f"WRONG: {status}{plain(each.fault)}"
    if each.approved is None:
        return f"{each.status} {plain(each.said)}"
    word = "approved" if each.approved else "declined"
    return f"{word} {plain(each.said)}"


def as_json(exchanges: Sequence[Exchange], currency: str) -> str:
    """Return all of it as one JSON object."""
    wrong = sum(each.fault is not None for each in exchanges)
    document = {
        "sent": len(exchanges),
        "wrong": wrong,
        "messages": [_document(each, currency) for each in exchanges],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _document(each: Exchange, currency: str) -> dict[str, Any]:
    return {
        "purchase": each.purchase,
        "sequence": each.course,
        "authorization_id": each.authorization_id,
        "event_id": each.message.event_id,
        "type": each.message.type,
        "amount": major_text(each.message.amount_minor, currency),
        "currency": currency,
        "repeated": each.is_repeated,
        "sent_at": utc_text(each.sent_at_us),
        "latency_ms": round(each.latency_ms, 3),
        "status": each.status,
        "approved": each.approved,
        "answer": each.said,
        "fault": each.fault,
    }
