"""`/metrics` of several processes: one sum, whichever of them answers, and none that goes backwards."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.server import Acme, Client, Lost, Refused, Server, found_acme, poll, serving

SECONDS = 15.0
SPREAD = 12
"""Connections; a kernel that gives all of them to one of two workers does so once in 2,000 times."""


def figures(client: Client) -> dict[str, float]:
    """Every sample by its name and the values of its labels."""
    answer = client.call("GET", "/metrics")
    assert answer.status == 200
    found = [s for family in text_string_to_metric_families(answer.body.decode()) for s in family.samples]
    return {" ".join((s.name, *(s.labels[name] for name in sorted(s.labels)))): s.value for s in found}


def spend(server: Server, acme: Acme, times: int) -> list[dict[str, float]]:
    """Have payments permitted over connections of their own, then look through each of them."""
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client(acme.key)) for _ in range(SPREAD)]
        for number in range(times):
            assert clients[number % SPREAD].ok("POST", "/v1/authorize", acme.request(1))["allowed"]
        return [figures(client) for client in clients]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_worker_shows_what_all_of_them_counted(tmp_path: Path, workers: str) -> None:
    """One worker alone counts in the same way."""
    with serving(tmp_path, "--workers", workers) as (server, client):
        acme = found_acme(client)
        for seen in spend(server, acme, 60):
            assert seen["sidecar_decisions_total permitted allow"] == 60
            assert seen["sidecar_decision_duration_seconds_count"] == 60
            assert seen["sidecar_decision_stage_duration_seconds_count commit"] == 60
            assert seen["sidecar_audit_appends_total decision"] == 60
            assert seen["sidecar_reservation_transitions_total held"] == seen["sidecar_reservations_held"] == 60
            assert seen["sidecar_http_requests_total POST /v1/authorize 200"] == 60
            assert seen["sidecar_commit_queue_length"] == 0
            assert seen["sidecar_worker_starts_total"] == int(workers)
        shared = server.data_dir / "metrics"
        assert shared.exists() == (workers == "2")
        server.stop()
        assert not shared.exists()


def test_nothing_that_was_counted_is_lost_with_a_killed_worker(tmp_path: Path) -> None:
    """Its successor goes on with its figures; so nobody's sum goes backwards."""
    with serving(tmp_path, "--workers", "2") as (server, client):
        acme = found_acme(client)
        spend(server, acme, 30)
        started = figures(client)["process_start_time_seconds"]
        for number, victim in enumerate(server.workers(), 3):
            server.kill_worker(victim)
            poll(partial(_has_started, server, number), SECONDS)
        for seen in spend(server, acme, 30):
            assert seen["sidecar_decisions_total permitted allow"] == 60
            assert seen["sidecar_decision_duration_seconds_count"] == 60
            assert seen["sidecar_audit_appends_total decision"] == 60
            assert seen["process_start_time_seconds"] == started


def _has_started(server: Server, number: int) -> bool:
    """Whether so many workers have been started so far."""
    try:
        with server.client() as client:
            return figures(client)["sidecar_worker_starts_total"] == number
    except (Lost, Refused):
        return False


def test_counters_begin_at_zero_with_the_server(tmp_path: Path) -> None:
    """What a killed server left behind is not counted again; what is in the store stays."""
    with Server(tmp_path, "--workers", "2") as server:
        with server.client() as client:
            acme = found_acme(client)
        spend(server, acme, 12)
        server.kill()
        server.start()
        for seen in spend(server, acme, 3):
            assert seen["sidecar_decisions_total permitted allow"] == 3
            assert seen["sidecar_reservations_held"] == 15
            assert seen["sidecar_worker_starts_total"] == 2
