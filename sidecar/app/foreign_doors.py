"""The doors of foreign protocols, over the services that the native API uses: AuthZEN, card networks, MCP, proxies."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sidecar.app import dialects
from sidecar.app.gateway_file import http_mapping, read_gateway, tools_of
from sidecar.doors.authzen import metadata
from sidecar.doors.authzen.evaluation import EvaluationCalls
from sidecar.doors.authzen.manner import AUTHZEN
from sidecar.doors.authzen.metadata import MetadataCalls
from sidecar.doors.authzen.search import SearchCalls
from sidecar.doors.card_network import manner as card_manner
from sidecar.doors.card_network.calls import PREFIX as CARD_NETWORK
from sidecar.doors.card_network.calls import CardNetworkCalls
from sidecar.doors.card_network.lithic import Lithic
from sidecar.doors.card_network.stripe import Stripe
from sidecar.doors.gateway import envoy, forward_auth
from sidecar.doors.gateway.envoy import EnvoyCalls
from sidecar.doors.gateway.forward_auth import ForwardAuthCalls
from sidecar.doors.mcp.authorize import McpCalls
from sidecar.doors.wire.endpoint import Call
from sidecar.doors.wire.manner import Manner
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import BatchAuthorizer
from sidecar.service.card_network import CardNetwork
from sidecar.service.card_programs import ProgramDesk
from sidecar.service.evaluations import Evaluator
from sidecar.service.gateway import Gateway
from sidecar.service.observe import Observer
from sidecar.service.search import Searcher
from sidecar.service.settlement import Settler
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store
from sidecar.settings import Settings

MANNERS: Final[Mapping[str, Manner]] = MappingProxyType(
    {
        **dialects.MANNERS,
        "/access/v1": AUTHZEN,
        metadata.PATH: AUTHZEN,
        CARD_NETWORK: card_manner.MANNER,
        envoy.PREFIX: envoy.MANNER,
        forward_auth.PATH: forward_auth.MANNER,
    }
)
"""How an unknown path is answered, by the path that it is below."""


def foreign_calls(
    settings: Settings,
    store: Store,
    snapshots: Snapshots,
    authorizer: Authorizer,
    batch: BatchAuthorizer,
    settler: Settler,
    new_id: Callable[[str, int], str],
    observer: Observer | None = None,
) -> tuple[Call, ...]:
    """Return the calls of all foreign doors. Raises ConfigurationInvalid for a mapping file that is none."""
    tables = read_gateway(settings.gateway, settings.gateway_text)
    evaluator, searcher = Evaluator(store, snapshots, authorizer, batch), Searcher(store, snapshots, authorizer)
    return (
        *_authzen_calls(settings, evaluator, searcher),
        *_card_network_calls(ProgramDesk(store, new_id), CardNetwork(store, authorizer, snapshots, new_id, observer)),
        *McpCalls(authorizer, tools_of(settings.gateway, tables["mcp"])).calls(),
        *_proxy_calls(settings, tables["http"], Gateway(store, authorizer, settler)),
    )


def _authzen_calls(settings: Settings, evaluator: Evaluator, searcher: Searcher) -> tuple[Call, ...]:
    """Return the calls of AuthZEN."""
    return (
        *EvaluationCalls(evaluator).calls(),
        *SearchCalls(searcher).calls(),
        *MetadataCalls(settings.public_url).calls(),
    )


def _card_network_calls(desk: ProgramDesk, cards: CardNetwork) -> tuple[Call, ...]:
    """Return the calls of all card networks."""
    return tuple(call for words in (Lithic(), Stripe()) for call in CardNetworkCalls(words, desk, cards).calls())


def _proxy_calls(settings: Settings, table: Mapping[str, object], gateway: Gateway) -> tuple[Call, ...]:
    """Return the calls of proxies."""
    mapping = http_mapping(settings.gateway, table)
    return (*EnvoyCalls(gateway, mapping).calls(), *ForwardAuthCalls(gateway, mapping).calls())
