"""Signatures as the networks make them."""

import base64
import hmac

from sidecar.cli.simulations.purchase import Message
from sidecar.core.card_events import Network
from sidecar.core.card_programs import signing_key


def sign(network: Network, secret: str, message: Message, now_seconds: int) -> dict[str, str]:
    """Return the headers with which the network would send ``message`` at ``now_seconds`` of the Unix epoch."""
    headers, key = {"Content-Type": "application/json; charset=utf-8"}, signing_key(network, secret)
    if network == "stripe":
        mac = hmac.digest(key, b"%d.%b" % (now_seconds, message.body), "sha256").hex()
        return headers | {"Stripe-Signature": f"t={now_seconds},v1={mac}"}
    text = b"%b.%d.%b" % (message.event_id.encode(), now_seconds, message.body)
    return headers | {
        "webhook-id": message.event_id,
        "webhook-timestamp": str(now_seconds),
        "webhook-signature": f"v1,{base64.b64encode(hmac.digest(key, text, 'sha256')).decode()}",
    }
