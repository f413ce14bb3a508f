"""What the words of a card network are made of."""

from sidecar.core.card_events import Standing


def test_of_two_standings_the_one_that_covers_more_requests_is_the_newer() -> None:
    early = Standing(version=(1, 9, "evt_9"), authorized_minor=5)
    late = Standing(version=(2, 3, "evt_3"), authorized_minor=7)
    assert max((early, late), key=lambda each: each.version) is late
