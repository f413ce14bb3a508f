"""Signatures as the networks make them, and the secrets that they are made with."""

import base64
import binascii
import hashlib
import hmac

from sidecar.cli.simulations.purchase import Message, Network
from sidecar.core.errors import ConfigurationInvalid

_PREFIX = "whsec_"


def check_secret(network: Network, secret: str) -> None:
    """Raise ConfigurationInvalid, without showing it, for a secret that the network would not have given."""
    if not (secret.startswith(_PREFIX) and secret.isascii() and secret.isprintable() and len(secret) > len(_PREFIX)):
        raise ConfigurationInvalid("the secret is the one of the network's dashboard and begins with `whsec_`")
    if network == "lithic":
        try:
            base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error as error:
            raise ConfigurationInvalid("a secret of `lithic` is base64 behind `whsec_`") from error


def sign(network: Network, secret: str, message: Message, now_seconds: int) -> dict[str, str]:
    """Return the headers with which the network would send ``message`` at ``now_seconds`` of the Unix epoch."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if network == "stripe":
        text = b"%d.%b" % (now_seconds, message.body)
        mac = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
        return headers | {"Stripe-Signature": f"t={now_seconds},v1={mac}"}
    text = b"%b.%d.%b" % (message.event_id.encode(), now_seconds, message.body)
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    mac = base64.b64encode(hmac.digest(key, text, "sha256")).decode()
    return headers | {
        "webhook-id": message.event_id,
        "webhook-timestamp": str(now_seconds),
        "webhook-signature": f"v1,{mac}",
    }
