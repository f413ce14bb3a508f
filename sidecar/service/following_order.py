"""What may follow what a follower has: of the same source, for the same follower, newer, and with nothing left out."""

from sidecar.core.feed import FeedRefused, Page
from sidecar.core.snapshot import PolicyFiles
from sidecar.service.following_switch import Kept


def require_same(kept: Kept, origin: str, tenant_id: str) -> None:
    """Raise FeedRefused for what comes from another control plane, or of another tenant, than what is here."""
    state = kept.state
    if state is not None and (state.origin, state.tenant_id) != (origin, tenant_id):
        here = f"tenant `{state.tenant_id}` of the log `{state.origin}`"
        raise FeedRefused(
            f"this data directory follows {here}, and what came is of tenant `{tenant_id}` of the log `{origin}`;"
            " use an empty one"
        )


def require_same_follower(kept: Kept, page: Page) -> None:
    """Raise FeedRefused where the control plane knows the token as another follower than the one that decided here.

    What it holds for decisions of this data directory ends by the word of that follower alone, and what was used of
    budgets that are decided here was that follower's to use.
    """
    state = kept.state
    if state is not None and state.follower_id != page.follower_id:
        raise FeedRefused(
            f"this data directory is that of the follower `{state.follower_id}`, and the token that of"
            f" `{page.follower_id}`; rotate the first one's token, or use an empty data directory"
        )


def is_other_source(kept: Kept, page: Page) -> bool:
    """Whether a page continues something else than what it was asked for."""
    if kept.staging is not None:
        staging = kept.staging
        told = (page.origin, page.tenant.tenant_id, page.scope)
        return staging.is_complete and (staging.origin, staging.tenant_id, staging.scope) != told
    return kept.state is not None and kept.state.scope != page.scope


def has_older_files(kept: Kept, page: Page) -> bool:
    """Whether a page has other policy files than those here, and is older than the one that brought these.

    No revision counts them, so the control plane's clock has to tell, which never goes back for long.
    """
    state = kept.state
    return state is not None and page.files_digest != state.files_digest and page.time_us < state.files_told_us


def files_of_page(kept: Kept, page: Page) -> PolicyFiles | None:
    """Return the policy files that come with the last page, None where those that are here stay. Raises FeedRefused."""
    if kept.state is not None and page.files_digest == kept.state.files_digest:
        return None
    if page.files is None:
        raise FeedRefused("the page names other policy files than those that are here, and leaves them out")
    return page.files


def require_newer(kept: Kept, revision: int) -> None:
    """Raise FeedRefused for a revision before the one that is here."""
    if kept.state is not None and revision < kept.state.revision:
        here = kept.state.revision
        raise FeedRefused(f"the control plane is at revision {revision}, which is older than {here}, that is here")


def require_next(page: Page, since: int) -> None:
    """Raise FeedRefused for a page that leaves out what came after a revision."""
    if page.from_revision > since:
        raise FeedRefused(f"the page begins at revision {page.from_revision}, expected {since}: something is missing")
