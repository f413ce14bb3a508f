"""Tokens by their public part."""

from pathlib import Path

from sidecar.core.access import Token
from tests.state.builders import reading, store_in, writing


def token(key_id: str, digest: bytes = b"digest") -> Token:
    """A token."""
    return Token(
        token_id="tok_1",
        key_id=key_id,
        digest=digest,
        prefix="at_live",
        tenant=1,
        kind="agent",
        name="token",
        identity_id="root",
        may_release=False,
        created_at_us=0,
        expires_at_us=None,
    )


def test_a_token_is_found_by_its_public_part_until_it_is_deleted(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.tokens.put(token("AAAA"))
            txn.tokens.put(token("BBBB"))
        with reading(environment) as txn:
            assert txn.tokens.find("AAAA") == token("AAAA")
            assert txn.tokens.find("CCCC") is None
        with writing(environment) as txn:
            txn.tokens.delete(token("AAAA"))
        with reading(environment) as txn:
            assert txn.tokens.find("AAAA") is None
            assert txn.tokens.find("BBBB") == token("BBBB")


def test_only_a_digest_of_the_secret_lies_in_the_store(tmp_path: Path) -> None:
    assert {"digest", "prefix", "key_id"} < set(Token.__struct_fields__)
    assert not {"secret", "text", "token"} & set(Token.__struct_fields__)
    assert tmp_path.exists()
