"""Calls of AuthZEN that search: who may do something, with what, and what may be done.

Source: OpenID AuthZEN Authorization API 1.0, section 8. What is searched for has a type only; a type, an id or a name
that nobody knows has no results and is no mistake.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec

from sidecar.core.errors import NotFound
from sidecar.core.limits import LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX
from sidecar.doors.authzen import drafts
from sidecar.doors.authzen.evaluation import tenant_of
from sidecar.doors.authzen.manner import AUTHZEN
from sidecar.doors.authzen.shapes import PATHS, Action, Resource, SearchedEntity, Subject, tenant_path
from sidecar.doors.wire import typed
from sidecar.doors.wire.endpoint import Ask, Call, Function, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.search import PageAsked, Searcher
from sidecar.service.search_plan import Search, Sought

ANY: Final = "any"
"""Stands in a request for what is sought; nobody looks at it."""


class Page(msgspec.Struct, frozen=True):
    """Which page is asked for; more than ``LIST_LIMIT_MAX`` results never come at once, and for 0 none."""

    limit: Annotated[int, msgspec.Meta(ge=0)] = LIST_LIMIT_DEFAULT
    token: str = ""


class SubjectSearchBody(msgspec.Struct, frozen=True):
    """Asks who may do this with that."""

    subject: SearchedEntity
    action: Action
    resource: Resource
    context: dict[str, object] = {}
    page: Page = Page()


class ResourceSearchBody(msgspec.Struct, frozen=True):
    """Asks what one may do this with."""

    subject: Subject
    action: Action
    resource: SearchedEntity
    context: dict[str, object] = {}
    page: Page = Page()


class ActionSearchBody(msgspec.Struct, frozen=True):
    """Asks what one may do with that."""

    subject: Subject
    resource: Resource
    context: dict[str, object] = {}
    page: Page = Page()


class SearchCalls:
    """The calls, over the service that does them."""

    def __init__(self, searcher: Searcher) -> None:
        """Translate for this service."""
        self._searcher = searcher

    def calls(self) -> tuple[Call, ...]:
        """Return the calls; each takes a tenant's path as well."""
        runs: Mapping[str, Function] = {
            "search_subject_endpoint": self.subjects,
            "search_resource_endpoint": self.resources,
            "search_action_endpoint": self.actions,
        }
        return tuple(
            Call(
                method="POST",
                path=PATHS[name],
                aliases=(tenant_path(PATHS[name]),),
                run=run,
                request=object,
                is_documented=False,
                manner=AUTHZEN,
            )
            for name, run in runs.items()
        )

    async def subjects(self, ask: Ask) -> Answer:
        """List identities of a type."""
        body = typed.convert(ask.body, SubjectSearchBody)
        kind = body.subject.type
        subject = Subject(kind, ANY, body.subject.properties)
        ids, token = await self._search(ask, "subject", (subject, body.action, body.resource), body.context, body.page)
        return _answer([{"type": kind, "id": each} for each in ids], token)

    async def resources(self, ask: Ask) -> Answer:
        """List resources of a type."""
        body = typed.convert(ask.body, ResourceSearchBody)
        kind = body.resource.type
        resource = Resource(kind, ANY, body.resource.properties)
        parts = (body.subject, body.action, resource)
        ids, token = await self._search(ask, "resource", parts, body.context, body.page)
        return _answer([{"type": kind, "id": each} for each in ids], token)

    async def actions(self, ask: Ask) -> Answer:
        """List actions."""
        body = typed.convert(ask.body, ActionSearchBody)
        parts = (body.subject, Action(ANY), body.resource)
        names, token = await self._search(ask, "action", parts, body.context, body.page)
        return _answer([{"name": each} for each in names], token)

    async def _search(
        self,
        ask: Ask,
        sought: Sought,
        parts: tuple[Subject, Action, Resource],
        context: Mapping[str, object],
        page: Page,
    ) -> tuple[Sequence[str], str]:
        """Return the results of a page, and what leads to the next one."""
        tenant_id = tenant_of(ask)
        with drafts.called():
            try:
                asked = drafts.evaluation(*parts, context)
            except NotFound:
                return (), ""
            search = Search(
                sought=sought,
                subject_type=asked.subject_type,
                request=asked.request,
                subject_properties=asked.subject_properties,
                resource_properties=asked.resource_properties,
            )
            limit = min(page.limit, LIST_LIMIT_MAX)
            found = await self._searcher.search(ask.caller, tenant_id, search, PageAsked(limit, page.token), ask.now_us)
        return found.results, found.next_token


def _answer(results: Sequence[object], next_token: str) -> Answer:
    return json_answer({"results": results, "page": {"next_token": next_token}})
