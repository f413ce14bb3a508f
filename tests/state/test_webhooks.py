"""Endpoints, their secrets and logs in the store."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import StoreUnusable
from sidecar.core.webhooks import DELIVERIES_KEPT, Delivery, Interest, Secrets, Webhook
from sidecar.state.codec import TENANT_U64, encode
from tests.state.builders import a_tenant, reading, rows, store_in, writing


def a_webhook(number: int = 1, *, lane: int = 10, events: tuple[str, ...] = ("*",)) -> Webhook:
    """An active endpoint."""
    return Webhook(
        webhook_id=f"wh_{number}",
        number=number,
        lane=lane,
        url="https://example.com/hook",
        events=events,
        description=None,
        secret_prefix="whsec_AAAA",
        created_at_us=0,
    )


def an_attempt(number: int) -> Delivery:
    """A successful attempt."""
    return Delivery(
        event_id="evt_1",
        type="webhook.test",
        attempt=number,
        at_us=number,
        status_code=200,
        error=None,
        duration_ms=1,
        next_attempt_at_us=None,
        state="delivered",
    )


def test_endpoints_are_found_by_id_and_number_and_listed_in_order_in_their_own_tenant(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            for number in (2, 1, 3):
                txn.of(a_tenant()).webhooks.keep(a_webhook(number))
            txn.of(a_tenant(2)).webhooks.keep(a_webhook(9))
        with reading(environment) as txn:
            webhooks = txn.of(a_tenant()).webhooks
            assert [each.number for each in webhooks.all()] == [1, 2, 3]
            assert [each.number for each in webhooks.all(after=1)] == [2, 3]
            assert webhooks.get("wh_2") == webhooks.at(2) == a_webhook(2)
            assert webhooks.get("wh_9") is None


def test_an_endpoint_without_its_row_or_secret_breaks_the_store(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, reading(environment) as txn:
        webhooks = txn.of(a_tenant()).webhooks
        for look in (webhooks.at, webhooks.secrets):
            with pytest.raises(StoreUnusable, match="webhook 7 of tenant 1 is not whole"):
                look(7)


def test_the_summary_has_the_active_endpoints(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            webhooks = txn.of(a_tenant()).webhooks
            assert webhooks.interests() == ()
            webhooks.keep(a_webhook(1, lane=5, events=("token.created",)))
            webhooks.keep(a_webhook(2, lane=6))
            assert webhooks.interests() == (Interest(1, 5, ("token.created",)), Interest(2, 6, ("*",)))
            webhooks.keep(msgspec.structs.replace(a_webhook(1), status="disabled"))
            assert webhooks.interests() == (Interest(2, 6, ("*",)),)
            webhooks.keep(msgspec.structs.replace(a_webhook(2, lane=6), format="ledger"))
            assert webhooks.interests() == (Interest(2, 6, ("*",), "ledger"),)
            webhooks.forget(a_webhook(2))
        assert rows(environment, "webhook_interests") == []


def test_an_endpoint_that_was_stored_without_a_format_is_told_natively(tmp_path: Path) -> None:
    """As it was before there were formats."""
    fields = {name: value for name, value in msgspec.to_builtins(a_webhook()).items() if name != "format"}
    with store_in(tmp_path) as environment:
        txn = environment.begin_write()
        txn.put(TENANT_U64.pack(1, 1), encode(fields), db=environment.tables["webhooks"])
        txn.commit()
        with reading(environment) as found:
            assert found.of(a_tenant()).webhooks.at(1) == a_webhook()


def test_a_secret_lies_in_its_own_table_and_goes_with_its_endpoint(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            webhooks = txn.of(a_tenant()).webhooks
            webhooks.keep(a_webhook())
            webhooks.keep_secrets(1, Secrets(b"old").rotated(b"secret", 5))
            webhooks.log(1, an_attempt(1))
            assert webhooks.secrets(1) == Secrets(b"secret", b"old", 5)
        assert all(b"secret" not in value.replace(b"secret_prefix", b"") for _, value in rows(environment, "webhooks"))
        with writing(environment) as txn:
            txn.of(a_tenant()).webhooks.forget(a_webhook())
        for table in ("webhooks", "webhook_secrets", "webhook_deliveries", "webhook_interests"):
            assert rows(environment, table) == []


def test_a_log_keeps_the_newest_attempts_of_each_endpoint(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            webhooks = txn.of(a_tenant()).webhooks
            webhooks.log(2, an_attempt(77))
            for number in range(1, DELIVERIES_KEPT + 6):
                webhooks.log(1, an_attempt(number))
            txn.of(a_tenant(2)).webhooks.log(1, an_attempt(88))
        with reading(environment) as txn:
            webhooks = txn.of(a_tenant()).webhooks
            kept = list(webhooks.deliveries(1))
            assert [place for place, _ in kept] == list(range(6, DELIVERIES_KEPT + 6))
            assert [delivery.attempt for _, delivery in kept] == [place for place, _ in kept]
            assert [place for place, _ in webhooks.deliveries(1, after=DELIVERIES_KEPT + 4)] == [DELIVERIES_KEPT + 5]
            assert list(webhooks.deliveries(2)) == [(1, an_attempt(77))]
            assert list(txn.of(a_tenant(2)).webhooks.deliveries(1)) == [(1, an_attempt(88))]


def test_a_log_that_is_too_long_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an update that keeps fewer: each new attempt removes several old ones."""
    with store_in(tmp_path) as environment, writing(environment) as txn:
        webhooks = txn.of(a_tenant()).webhooks
        for number in range(1, 21):
            webhooks.log(1, an_attempt(number))
        monkeypatch.setattr("sidecar.state.webhooks.DELIVERIES_KEPT", 2)
        webhooks.log(1, an_attempt(21))
        assert [place for place, _ in webhooks.deliveries(1)] == list(range(9, 22))
        for number in (22, 23):
            webhooks.log(1, an_attempt(number))
        assert [place for place, _ in webhooks.deliveries(1)] == [22, 23]
