"""A relying party is one that browsers accept: a domain, and pages of it over TLS."""

import pytest

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.relying_party import RelyingParty, check_party, parse_origins


def test_origins_are_listed_with_commas() -> None:
    text = "https://wallet.example.com, http://localhost:8181,https://wallet.example.com"
    assert parse_origins(text, "webauthn_origins") == ("https://wallet.example.com", "http://localhost:8181")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wallet.example.com",
        "https://wallet.example.com/",
        "https://Wallet.example.com",
        "https://wallet.example.com:443",
        "http://localhost:80",
        "https://user@wallet.example.com",
        "https://127.0.0.1",
        "https://wallet.example.com:port",
        "https://wallet.example.com:65536",
        "ftp://wallet.example.com",
        "https://",
        "https://a.example,",
    ],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValidationFailed, match="is no origin") as caught:
        parse_origins(text, "webauthn_origins")
    assert caught.value.field == "webauthn_origins"


@pytest.mark.parametrize(
    "party",
    [
        RelyingParty(),
        RelyingParty("example.com", ("https://wallet.example.com", "https://example.com:8443")),
        RelyingParty("localhost", ("http://wallet.localhost:3000",)),
    ],
)
def test_a_domain_and_its_pages(party: RelyingParty) -> None:
    check_party(party)


@pytest.mark.parametrize(
    ("party", "said"),
    [
        (RelyingParty("", ()), "is no domain"),
        (RelyingParty("127.0.0.1", ()), "is no domain"),
        (RelyingParty("Example.com", ()), "is no domain"),
        (RelyingParty("example.com", ("https://badexample.com",)), "its host is another"),
        (RelyingParty("wallet.example.com", ("https://example.com",)), "its host is another"),
        (RelyingParty("example.com", ("http://wallet.example.com",)), "which need `https`"),
    ],
)
def test_what_browsers_would_refuse(party: RelyingParty, said: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=said):
        check_party(party)
