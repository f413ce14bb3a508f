"""``sidecar simulate``: a card network that fires signed purchases at a running server, for tests and demonstrations.

Reads the flags and leaves the playing to ``sidecar.cli.simulations``. Nothing is kept, and nobody but the address
given is spoken to.
"""

import random
import re
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

import click
import httpx
import msgspec

from sidecar.cli.simulations.courses import COURSES, Course
from sidecar.cli.simulations.firing import Plan, Terminal
from sidecar.cli.simulations.purchase import Purchase
from sidecar.cli.simulations.report import as_json, tell
from sidecar.core.card_events import Network
from sidecar.core.card_programs import check_secret
from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.money import Major

EXIT_WRONG: Final = 1
COUNT_MAX: Final = 100_000
SECRET_VARIABLE: Final = "SIDECAR_SIMULATE_SECRET"  # noqa: S105 - the name of a variable

_NAMES: Final = tuple(course.name for course in COURSES)
_PROGRAM: Final = re.compile(r"[A-Za-z0-9_]{1,128}")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The words of the command line."""

    network: Network
    url: str
    program: str | None
    secret: str | None
    card: str | None
    amount: str
    currency: str
    merchant: str
    category: str
    sequence: str
    count: int
    seed: int | None
    shuffle: bool
    duplicate: bool
    shape: str
    bodies: bool
    listed: bool


@click.command()
@click.argument("network", type=click.Choice(["stripe", "lithic"]))
@click.option("--url", default="http://127.0.0.1:8181", show_default=True, help="Address of the server.")
@click.option("--program", metavar="ID", help="Send to the address of this card program only.")
@click.option("--secret", envvar=SECRET_VARIABLE, show_envvar=True, help="Secret of the card program, `whsec_…`.")
@click.option("--card", help="What the network calls the card: the `id` in its `external_ref`, such as ic_….")
@click.option("--amount", default="47.23", show_default=True, help="Amount of a purchase.")
@click.option("--currency", default="CAD", show_default=True, help="Its currency, which the card has too.")
@click.option("--merchant", default="AWS", show_default=True, help="Name of the merchant.")
@click.option("--category", default="7372", show_default=True, help="Merchant category code.")
@click.option(
    "--sequence",
    type=click.Choice([*_NAMES, "all", "random"]),
    default="simple",
    show_default=True,
    help="What becomes of a purchase; --list tells of each.",
)
@click.option(
    "--count",
    type=click.IntRange(1, COUNT_MAX),
    default=1,
    show_default=True,
    help="How many purchases, with `all` how many of each sequence.",
)
@click.option("--seed", type=int, help="Choose, name and order things as the run that printed this seed did.")
@click.option("--shuffle", is_flag=True, help="Tell all events at the end, in any order.")
@click.option("--duplicate", is_flag=True, help="Send every message twice.")
@click.option("--bodies", is_flag=True, help="Print what is sent and answered whole.")
@click.option(
    "--format", "shape", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)
@click.option("--list", "listed", is_flag=True, help="List the sequences and end.")
@click.pass_context
def simulate(ctx: click.Context, /, **given: Any) -> None:  # noqa: ANN401 - what click read, by the names of `Asked`
    """Fire signed purchases at a running server, as the card network NETWORK would.

    The server must have a card program with the same secret, and a card whose `external_ref` is this network and
    --card. Requests wait for a decision; what was declined is not captured. Each message, its answer and how long it
    took are printed.

    The same --seed gives the same ids: fired at the same server again, requests are repetitions.

    \b
    JSON keys, stable once released:
      sent, wrong  how many messages, and how many were not answered as the protocol says
      messages     of each purchase, sequence, authorization_id, event_id, type, amount, currency, repeated, sent_at,
                   latency_ms, status, approved (null for events), answer, fault

    Exit codes: 0 all was answered as the protocol says, approved or declined, 1 something was not, 2 wrong usage.
    """  # noqa: D301 - click keeps the lines of a paragraph that begins with this character
    asked = Asked(**given)
    if asked.listed:
        for course in COURSES:
            click.echo(f"{course.name:<14} {course.tells}")
        return
    if asked.secret is None or asked.card is None:
        missing = "--secret" if asked.secret is None else "--card"
        raise click.UsageError(f"`{missing}` is missing")
    try:
        check_secret(asked.network, asked.secret)
    except ValidationFailed as error:
        raise ConfigurationInvalid(error.message) from error
    address = _address(asked)
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    chance = random.Random(seed)  # noqa: S311 - ids of a simulation
    plan = _plan(asked, asked.card, chance)
    with httpx.Client(trust_env=False, follow_redirects=False) as client:
        exchanges = Terminal(client, asked.network, address, asked.secret).fire(plan, chance)
        if asked.shape == "json":
            found = list(exchanges)
            click.echo(as_json(found, asked.currency))
            wrong = sum(each.fault is not None for each in found)
        else:
            click.echo(f"{asked.network} to {address}, --seed {seed}")
            _, wrong = tell(exchanges, asked.currency, shows_bodies=asked.bodies)
    ctx.exit(EXIT_WRONG if wrong else 0)


def _plan(asked: Asked, card: str, chance: random.Random) -> Plan:
    try:
        amount_minor = Major(asked.amount).minor(asked.currency, "--amount")
    except (ValueError, ValidationFailed) as error:
        raise click.UsageError(f"--amount: {error}") from error
    if amount_minor == 0:
        raise click.UsageError("--amount: expected more than zero")
    return Plan(
        network=asked.network,
        purchase=Purchase(
            card=card,
            amount_minor=amount_minor,
            currency=asked.currency,
            merchant=asked.merchant,
            category=asked.category,
        ),
        courses=_courses(asked, chance),
        shuffles=asked.shuffle,
        duplicates=asked.duplicate,
    )


def _courses(asked: Asked, chance: random.Random) -> tuple[Course, ...]:
    if asked.sequence == "all":
        return COURSES * asked.count
    if asked.sequence == "random":
        return tuple(chance.choices(COURSES, k=asked.count))
    return tuple(course for course in COURSES if course.name == asked.sequence) * asked.count


def _address(asked: Asked) -> str:
    """Return where the messages go. Raises ConfigurationInvalid for what is no address of a server."""
    try:
        parts = urlsplit(asked.url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        is_address = False
    if not is_address or any(sign in asked.url for sign in "@?# "):
        raise ConfigurationInvalid("`--url` is not the address of a server, expected such as http://127.0.0.1:8181")
    if asked.program is not None and _PROGRAM.fullmatch(asked.program) is None:
        raise ConfigurationInvalid("`--program` is not the id of a card program, expected such as cprg_01…")
    behind = "" if asked.program is None else f"/{asked.program}"
    return f"{asked.url.rstrip('/')}/card-network/{asked.network}{behind}"
