"""What tests of searches share: a small schema, all pages of a search, and the same by asking for everybody."""

from collections.abc import Iterable

from sidecar.core.access import Caller
from sidecar.core.errors import SidecarError
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.service.search import PageAsked, Searcher
from sidecar.service.search_plan import Search, Sought
from tests.service.builders import OPERATOR, World

SCHEMA = """
entity User, Team, Agent in [User, Team, Agent] { name: String, status: String, external_id?: String } tags String;
entity Tool { server?: String, size?: Long };
entity Lamp enum ["red", "green"];
action use;
action call in [use] appliesTo {
  principal: [User, Agent], resource: [Tool, Lamp, Agent, Team],
  context: { amount?: Long, currency?: String, hour: Long, note?: String, friend?: Agent },
};
action stop in [use] appliesTo { principal: [Agent], resource: [Tool, Agent], context: { hour: Long, note: String } };
action buy appliesTo { principal: [Agent], resource: [Tool], context: { amount: Long, currency: String } };
"""

IDENTITY_TYPES = frozenset({"user", "team", "agent"})


def files(*policies: str) -> PolicyFiles:
    """The small schema, and policies of the tenant `t_one`."""
    texts = tuple(SourceFile(f"policies/p{index}.cedar", text) for index, text in enumerate(policies))
    schemas = (SourceFile("schemas/s.cedarschema", SCHEMA),)
    return PolicyFiles(schemas=schemas, shared=(), by_tenant={"t_one": texts})


def call(
    identity_id: str = "root", action: str = "call", resource: tuple[str, str] = ("tool", "hammer")
) -> AuthorizeRequest:
    """A request to use something."""
    return AuthorizeRequest(
        identity_id=identity_id, action=action, resource=ResourceRef(*resource), ttl_seconds=604_800
    )


def search(sought: Sought, request: AuthorizeRequest, subject_type: str = "agent") -> Search:
    """A search for a part of a request."""
    return Search(sought=sought, subject_type=subject_type, request=request)


def searcher(world: World) -> Searcher:
    """What searches in a world."""
    return Searcher(world.store, world.snapshots, world.authorizer)


def pages(
    world: World, asked: Search, caller: Caller = OPERATOR, limit: int = 200, by: Searcher | None = None
) -> list[tuple[str, ...]]:
    """Return the results of a search, page by page."""
    found: list[tuple[str, ...]] = []
    token = ""
    while not found or token:
        tenant_id = None if caller.token else "t_one"
        page = (by or searcher(world)).search(caller, tenant_id, asked, PageAsked(limit, token), world.now_us)
        results, token = world.run(page)
        assert len(results) <= limit
        found.append(results)
    return found


def results(world: World, asked: Search, caller: Caller = OPERATOR, limit: int = 200) -> list[str]:
    """Return all results of a search, in their order."""
    return [result for page in pages(world, asked, caller, limit) for result in page]


def by_asking(world: World, asked: Search, candidates: Iterable[str], caller: Caller = OPERATOR) -> list[str]:
    """Return those of ``candidates`` for whom a dry run answers yes, sorted; the obvious way to search."""
    return sorted(each for each in candidates if _is_permitted(world, asked.asking(each), caller))


def _is_permitted(world: World, request: AuthorizeRequest, caller: Caller) -> bool:
    try:
        answered = world.authorizer.rehearse(caller, None if caller.token else "t_one", request, world.now_us)
    except SidecarError:
        return False
    return answered.decision.allowed
