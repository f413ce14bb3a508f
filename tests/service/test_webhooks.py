"""Webhook endpoints: who may have them, what becomes of them, and that their secrets stay secrets."""

from collections.abc import Callable, Iterator

import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.idempotency import idempotency_key
from sidecar.core.webhooks import DELIVERY_KEPT_US, ENDPOINTS_MAX, Secrets, Webhook, secret_text
from sidecar.service.idempotency import Done
from sidecar.service.paging import PageRequest
from sidecar.service.webhooks import Signed, WebhookDraft, WebhookPatch
from tests.service.builders import OPERATOR, SECOND, World
from tests.service.mailroom import BROKEN, TAKEN, URL, Mailroom, opened

DRAFT = WebhookDraft(URL, ("*",), "ours")


@pytest.fixture
def mail(world: World) -> Iterator[Mailroom]:
    """The webhooks of a tenant."""
    yield from opened(world)


def calls(mail: Mailroom, caller: Caller, tenant_id: str | None, webhook_id: str) -> list[Callable[[], object]]:
    """Return every call of the desk about one endpoint."""
    desk, world, now_us = mail.desk, mail.world, mail.world.now_us
    return [
        lambda: desk.get(caller, tenant_id, webhook_id),
        lambda: desk.deliveries(caller, tenant_id, webhook_id, PageRequest(), now_us),
        lambda: world.run(desk.change(caller, tenant_id, webhook_id, WebhookPatch(), now_us)),
        lambda: world.run(desk.test(caller, tenant_id, webhook_id, now_us)),
        lambda: world.run(desk.rotate(caller, tenant_id, webhook_id, 0, now_us)),
        lambda: world.run(desk.delete(caller, tenant_id, webhook_id, now_us)),
    ]


def test_an_endpoint_is_made_with_a_secret_that_no_other_answer_shows(world: World, mail: Mailroom) -> None:
    made = world.run(mail.desk.create(OPERATOR, "t_one", DRAFT, world.now_us)).value
    webhook = made.hooked.webhook
    assert made.secret == secret_text(mail.secrets(webhook).current)
    assert made.secret.startswith(webhook.secret_prefix)
    assert (webhook.url, webhook.events, webhook.description, webhook.status) == (URL, ("*",), "ours", "active")
    assert (webhook.revision, webhook.disabled_reason, made.hooked.tenant_id) == (1, None, "t_one")
    assert mail.checked == [URL]
    assert mail.desk.get(OPERATOR, "t_one", webhook.webhook_id) == made.hooked
    assert made.secret not in repr(mail.desk.listed(OPERATOR, "t_one", PageRequest()))
    assert {"type": "webhook_created", "webhook": webhook.webhook_id, "by": "operator"}.items() <= world.bodies()[
        -1
    ].items()
    assert {"events": ["*"], "status": "active"}.items() <= world.bodies()[-1].items()
    assert URL not in repr(world.bodies())
    assert made.secret.removeprefix("whsec_") not in repr(world.bodies())


def test_a_url_that_must_not_be_called_is_refused(mail: Mailroom) -> None:
    webhook = mail.hook()

    def refuse(url: str) -> None:
        raise ValidationFailed(url, field="url")

    mail.desk._check_url = refuse  # noqa: SLF001 -- what a stricter setting would say
    with pytest.raises(ValidationFailed, match="example"):
        mail.hook()
    with pytest.raises(ValidationFailed, match="elsewhere"):
        mail.change(webhook, WebhookPatch(url="elsewhere"))
    assert mail.change(webhook, WebhookPatch(description="kept")).url == URL


def test_a_tenant_has_so_many_endpoints_at_most(mail: Mailroom) -> None:
    made = [mail.hook() for _ in range(ENDPOINTS_MAX)]
    with pytest.raises(Conflict, match="the most it can have"):
        mail.hook()
    mail.world.run(mail.desk.delete(OPERATOR, "t_one", made[0].webhook_id, mail.world.now_us))
    mail.hook()


def test_a_list_has_pages_in_order_of_creation(mail: Mailroom) -> None:
    made = [mail.hook() for _ in range(3)]
    first = mail.desk.listed(OPERATOR, "t_one", PageRequest(limit=2))
    assert first.next_after is not None
    second = mail.desk.listed(OPERATOR, "t_one", PageRequest(first.next_after, 2))
    assert [hooked.webhook for hooked in (*first.values, *second.values)] == made
    assert second.next_after is None


def test_what_is_changed_is_recorded_and_counted(world: World, mail: Mailroom) -> None:
    webhook = mail.hook("token.created")
    changed = mail.change(webhook, WebhookPatch(url="https://example.org/", events=("*",), description="new"))
    assert (changed.url, changed.events, changed.description) == ("https://example.org/", ("*",), "new")
    assert changed.revision == 2
    assert world.kinds()[-1] == "webhook_updated"
    assert {"events": ["*"], "status": "active"}.items() <= world.bodies()[-1].items()
    assert mail.change(changed, WebhookPatch(status="active")) == changed
    assert world.kinds()[-1] == "webhook_updated"
    assert mail.shown(webhook) == changed


def test_what_waits_for_an_endpoint_that_is_disabled_is_dropped(world: World, mail: Mailroom) -> None:
    """Enabled again, it gets what happens from then on, and its failures are forgotten."""
    webhook, other = mail.hook(), mail.hook("webhook.disabled")
    world.identity("ann")
    mail.answer(BROKEN)
    disabled = mail.change(webhook, WebhookPatch(status="disabled", description="off"))
    assert (disabled.status, disabled.disabled_reason, disabled.description) == ("disabled", "by_request", "off")
    assert mail.told(other)[0][1]["by"] == "operator"
    world.identity("bob")
    assert mail.change(disabled, WebhookPatch(status="disabled")) == disabled
    enabled = mail.change(disabled, WebhookPatch(status="active"))
    assert (enabled.status, enabled.disabled_reason) == ("active", None)
    assert mail.waiting(enabled) == []
    world.identity("cid")
    assert mail.types(enabled) == ["identity.created"]
    work = mail.dispatch.due(mail.place(enabled), world.now_us, 9)
    assert work is not None
    assert not work.is_failing


def test_a_deleted_endpoint_is_gone_with_everything(world: World, mail: Mailroom) -> None:
    waiting, disabled = mail.hook(), mail.hook()
    mail.change(disabled, WebhookPatch(status="disabled"))
    for webhook in (waiting, disabled):
        world.run(mail.desk.delete(OPERATOR, "t_one", webhook.webhook_id, world.now_us))
        for call in calls(mail, OPERATOR, "t_one", webhook.webhook_id):
            with pytest.raises(NotFound):
                call()
    assert world.kinds()[-2:] == ["webhook_deleted", "webhook_deleted"]
    assert mail.due() == []
    assert world.run(mail.dispatch.sweep()) > 0
    assert world.run(mail.dispatch.sweep()) == 0


def test_a_test_is_sent_to_one_endpoint_whatever_it_asked_for(mail: Mailroom) -> None:
    webhook, other = mail.hook("token.created"), mail.hook()
    event_id = mail.test(webhook)
    assert [waiting.event_id for waiting in mail.waiting(webhook)] == [event_id]
    assert mail.told(webhook) == [
        ("webhook.test", {"tenant_id": "t_one", "webhook_id": webhook.webhook_id, "by": "operator"})
    ]
    assert mail.told(other) == []
    mail.change(webhook, WebhookPatch(status="disabled"))
    with pytest.raises(Conflict, match="is disabled"):
        mail.test(webhook)


def test_no_test_is_sent_where_too_much_waits(mail: Mailroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.service.post.WAITING_MAX", 1)
    webhook = mail.hook()
    mail.test(webhook)
    with pytest.raises(Conflict, match="as many events wait as can"):
        mail.test(webhook)
    assert mail.shown(webhook).status == "active"


def test_a_replaced_secret_signs_as_well_for_a_while(world: World, mail: Mailroom) -> None:
    made = mail.signed()
    webhook = made.hooked.webhook
    rotated = world.run(mail.desk.rotate(OPERATOR, "t_one", webhook.webhook_id, 60, world.now_us)).value
    assert rotated.secret != made.secret
    assert rotated.hooked.webhook.revision == 2
    assert rotated.secret.startswith(rotated.hooked.webhook.secret_prefix)
    mail.test(webhook)
    (parcel,) = mail.due()
    assert [secret_text(secret) for secret in parcel.secrets] == [rotated.secret, made.secret]
    world.now_us += 60 * SECOND
    (parcel,) = mail.due()
    assert [secret_text(secret) for secret in parcel.secrets] == [rotated.secret]
    assert world.kinds()[-1] == "webhook_rotated"


def test_a_replaced_secret_is_forgotten_when_its_grace_is_over(world: World, mail: Mailroom) -> None:
    """Whoever reads the store later finds none that somebody might still trust."""
    webhook, other, gone = (mail.signed().hooked.webhook for _ in range(3))

    def rotate(which: Webhook, seconds: int) -> None:
        world.run(mail.desk.rotate(OPERATOR, "t_one", which.webhook_id, seconds, world.now_us))

    for each in (webhook, other, gone):
        rotate(each, 60)
    rotate(other, 600)
    world.run(mail.desk.delete(OPERATOR, "t_one", gone.webhook_id, world.now_us))
    current = mail.secrets(webhook).current
    world.now_us += 60 * SECOND - 1
    world.run(world.desk.prune_former_secrets(world.now_us))
    assert mail.secrets(webhook).previous is not None
    world.now_us += 1
    world.run(world.desk.prune_former_secrets(world.now_us))
    assert mail.secrets(webhook) == Secrets(current)
    assert mail.secrets(other).previous is not None
    world.now_us += 540 * SECOND
    world.run(world.desk.prune_former_secrets(world.now_us))
    assert mail.secrets(other).previous is None
    assert world.run(world.desk.prune_former_secrets(world.now_us)) == 0


def test_the_log_shows_attempts_in_pages_for_thirty_days(world: World, mail: Mailroom) -> None:
    webhook = mail.hook()
    for response in (BROKEN, TAKEN, TAKEN):
        mail.test(webhook)
        mail.answer(response)
        world.now_us += SECOND
    assert [delivery.state for delivery in mail.log(webhook)] == ["retrying", "delivered", "delivered"]
    page = mail.desk.deliveries(OPERATOR, "t_one", webhook.webhook_id, PageRequest(limit=2), world.now_us)
    assert page.next_after is not None
    rest = mail.desk.deliveries(OPERATOR, "t_one", webhook.webhook_id, PageRequest(page.next_after, 2), world.now_us)
    assert [*page.values, *rest.values] == mail.log(webhook)
    world.now_us += DELIVERY_KEPT_US - SECOND
    assert mail.log(webhook) == []


def test_endpoints_are_for_administrators_of_the_tenant(world: World, mail: Mailroom) -> None:
    webhook, agent, own = mail.hook(), world.token("root"), world.token(None)
    world.tenant("t_two")
    for call in calls(mail, agent, None, webhook.webhook_id):
        with pytest.raises(Forbidden):
            call()
    with pytest.raises(Forbidden):
        mail.desk.listed(agent, None, PageRequest())
    with pytest.raises(Forbidden):
        world.run(mail.desk.create(agent, None, DRAFT, world.now_us))
    for call in calls(mail, OPERATOR, "t_two", webhook.webhook_id):
        with pytest.raises(NotFound):
            call()
    for call in calls(mail, own, "t_two", webhook.webhook_id):
        with pytest.raises(Forbidden):
            call()
    world.run(mail.desk.create(own, None, DRAFT, world.now_us))
    assert len(mail.desk.listed(own, None, PageRequest()).values) == 2


def test_a_token_that_was_revoked_meanwhile_changes_nothing(world: World, mail: Mailroom) -> None:
    webhook, minted = mail.hook(), world.minted(None)
    caller = world.desk.authenticate(minted.text, world.now_us)
    world.run(world.desk.revoke(OPERATOR, "t_one", minted.token.token_id, world.now_us))
    for call in calls(mail, caller, None, webhook.webhook_id)[2:]:
        with pytest.raises(Unauthenticated):
            call()
    assert mail.shown(webhook) == webhook


def test_the_summary_of_a_webhook_does_not_hold_its_secret() -> None:
    """What answers and stored answers are made of has no field for one."""
    assert not {"secret", "secrets", "current", "previous"} & set(Webhook.__struct_fields__)


def test_a_repeated_key_makes_one_endpoint_and_shows_no_secret_again(world: World, mail: Mailroom) -> None:
    key = idempotency_key("operator", "POST /v1/webhooks", "k", b"content")

    def make() -> Done[Signed]:
        return world.run(mail.desk.create(OPERATOR, "t_one", DRAFT, world.now_us, key))

    first, again = make(), make()
    assert (first.replayed, again.replayed) == (False, True)
    assert again.value == Signed(first.value.hooked, "")
    assert len(mail.desk.listed(OPERATOR, "t_one", PageRequest()).values) == 1


def test_a_repeated_rotation_or_test_happens_once(world: World, mail: Mailroom) -> None:
    webhook = mail.signed().hooked.webhook
    key = idempotency_key("operator", "POST /v1/webhooks/x", "k", b"content")

    def rotate() -> Done[Signed]:
        return world.run(mail.desk.rotate(OPERATOR, "t_one", webhook.webhook_id, 60, world.now_us, key))

    first, again = rotate(), rotate()
    assert (again.replayed, again.value.secret) == (True, "")
    assert secret_text(mail.secrets(webhook).current) == first.value.secret
    other = idempotency_key("operator", "POST /v1/webhooks/x/test", "k", b"content")
    queued = [
        world.run(mail.desk.test(OPERATOR, "t_one", webhook.webhook_id, world.now_us, other)).value for _ in range(2)
    ]
    assert queued[0] == queued[1]
    assert len(mail.due()) == 1
