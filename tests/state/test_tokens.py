"""Tokens by their public part."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.access import Former, Token
from sidecar.core.errors import StoreUnusable
from sidecar.state.codec import encode
from sidecar.state.tokens import FormerSecret
from tests.state.builders import reading, rows, store_in, writing


def token(key_id: str, digest: bytes = b"digest", number: int = 1) -> Token:
    """A token."""
    return Token(
        token_id=f"tok_{number}",
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


def test_a_public_part_belongs_to_one_token(tmp_path: Path) -> None:
    """Nothing is written over: the token that had it first would be locked out, and its holder let in as another."""
    with store_in(tmp_path) as environment, writing(environment) as txn:
        txn.tokens.put(token("AAAA"))
        with pytest.raises(StoreUnusable, match="belongs to `tok_1`"):
            txn.tokens.put(token("AAAA", b"other", 2))
        assert txn.tokens.find("AAAA") == token("AAAA")
        txn.tokens.put(token("AAAA", b"changed"))
        assert txn.tokens.find("AAAA") == token("AAAA", b"changed")
        txn.tokens.replace(token("AAAA", b"changed"), after(token("BBBB"), "AAAA", 100))
        with pytest.raises(StoreUnusable, match="belongs to `tok_1`"):
            txn.tokens.put(token("AAAA", b"other", 2))


def after(new: Token, former: str, until_us: int) -> Token:
    """A token that replaced one with another public part."""
    return msgspec.structs.replace(new, former=Former(former, until_us))


def test_a_replaced_token_is_found_by_both_parts_the_former_one_with_its_own_end(tmp_path: Path) -> None:
    new = after(token("BBBB", b"new"), "AAAA", 100)
    with store_in(tmp_path) as environment, writing(environment) as txn:
        txn.tokens.put(token("AAAA", b"old"))
        txn.tokens.replace(token("AAAA", b"old"), new)
        assert txn.tokens.find("BBBB") == new
        found = msgspec.structs.replace(new, key_id="AAAA", digest=b"old", expires_at_us=100)
        assert txn.tokens.find("AAAA") == found
        short = msgspec.structs.replace(new, expires_at_us=50)
        txn.tokens.put(short)
        assert txn.tokens.find("AAAA") == msgspec.structs.replace(found, expires_at_us=50)
        txn.tokens.delete(short)
        assert txn.tokens.find("AAAA") is txn.tokens.find("BBBB") is None


def test_a_token_that_is_replaced_without_grace_leaves_nothing_behind(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.tokens.put(token("AAAA"))
            txn.tokens.replace(token("AAAA"), token("BBBB"))
            assert txn.tokens.find("AAAA") is None
        assert len(rows(environment, "tokens")) == 1
        assert rows(environment, "former_secrets") == rows(environment, "former_secrets_expiry") == []


def test_a_former_secret_opens_only_while_its_token_names_it(tmp_path: Path) -> None:
    """What the token says counts, whatever rows were left behind."""
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.tokens.put(token("BBBB"))
        raw = environment.begin_write()
        table = environment.tables["former_secrets"]
        raw.put(b"AAAA", encode(FormerSecret("BBBB", b"old")), db=table)
        raw.put(b"CCCC", encode(FormerSecret("gone", b"old")), db=table)
        raw.commit()
        with writing(environment) as txn:
            assert txn.tokens.find("AAAA") is txn.tokens.find("CCCC") is None
            txn.tokens.put(after(token("BBBB"), "DDDD", 100))
            assert txn.tokens.find("AAAA") is None


def test_secrets_are_forgotten_after_their_grace_time_some_at_a_time(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            assert txn.prune_former_secrets(10**9, 10) == 0
            for number in range(5):
                old = token(f"OLD{number}", number=number)
                txn.tokens.put(old)
                new = token(f"NEW{number}", number=number)
                txn.tokens.replace(old, after(new, f"OLD{number}", 100 + number))
        with writing(environment) as txn:
            assert txn.prune_former_secrets(99, 10) == 0
            assert txn.prune_former_secrets(103, 3) == 3
            assert txn.prune_former_secrets(103, 3) == 1
            assert txn.prune_former_secrets(103, 3) == 0
            assert [txn.tokens.find(f"OLD{number}") is None for number in range(5)] == [True, True, True, True, False]
            assert all(txn.tokens.find(f"NEW{number}") for number in range(5))
        assert len(rows(environment, "former_secrets")) == len(rows(environment, "former_secrets_expiry")) == 1
