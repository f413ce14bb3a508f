"""How a server starts, says so, refuses to start, loses a part of itself, and ends."""

import fcntl
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import lmdb
import msgspec
import pytest

from tests.core.authenticator import Authenticator
from tests.process.server import (
    OPERATOR,
    ROOT,
    Client,
    Document,
    Server,
    UnixConnection,
    clean_environment,
    found_acme,
    members,
    poll,
    run_sidecar,
    serving,
)

EXIT_USAGE = 2
EXIT_STORE = 75
SECONDS = 15.0


def refused(*flags: str, data: Path, code: int = EXIT_USAGE, **environment: str) -> str:
    """Start a server that must refuse; returns its one line of complaint."""
    words = ("serve", "--port", "0", "--data-dir", str(data), *flags)
    done = run_sidecar(*words, environment={"SIDECAR_ADMIN_TOKEN": OPERATOR} | environment)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("{", "Usage:", "Try "))]
    assert len([line for line in lines if line]) == 1, done.stderr
    return lines[-1]


@contextmanager
def opened(data: Path) -> Iterator[lmdb.Environment]:
    """Open the store of a server that is not running."""
    with closing(lmdb.open(str(data / "db"), lib_version=0, max_dbs=64, map_size=1 << 30)) as environment:
        yield environment


# --- Life and death ---------------------------------------------------------------------------------------------------


def test_ready_is_said_once_when_all_workers_answer(tmp_path: Path) -> None:
    """Several workers announce themselves with one line, and it names where they listen."""
    with serving(tmp_path, "--workers", "3") as (server, operator):
        assert len(server.workers()) == 3
        assert operator.ok("GET", "/v1/health")["status"] == "ok"
        assert operator.ok("GET", "/livez")["status"] == "ok"
        assert operator.ok("GET", "/readyz")["status"] == "ok"
        server.kill_worker(server.workers()[0])
        poll(lambda: len(server.workers()) == 3, SECONDS)
        assert server.stop() == 0
        assert [line.startswith("ready on http://127.0.0.1:") for line in server.ready_lines()] == [True]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process_in_good_order(tmp_path: Path, workers: int, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end all within 10 s with exit code 0, a connection that idles notwithstanding."""
    with serving(tmp_path, "--workers", str(workers)) as (server, operator):
        operator.ok("GET", "/v1/health")
        began = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(SECONDS) == 0
        assert time.monotonic() - began < 10
        assert members(server.process.pid) == []


def test_what_was_being_answered_is_answered_before_the_end(tmp_path: Path) -> None:
    """A request whose body is still arriving when SIGTERM comes gets its answer."""
    with serving(tmp_path) as (server, operator):
        acme = found_acme(operator)
        body = json.dumps(acme.request()).encode()
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        head = f"POST /v1/authorize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((host, int(port)), SECONDS) as connection:
            connection.sendall(head.encode() + body[:20])
            server.process.send_signal(signal.SIGTERM)
            poll(lambda: not is_listening(host, int(port)), SECONDS)
            connection.sendall(body[20:])
            answered = connection.recv(65536)
        assert answered.startswith(b"HTTP/1.1 200")
        assert server.process.wait(SECONDS) == 0


def is_listening(host: str, port: int) -> bool:
    """Whether a new connection is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """``kill -9`` of the supervisor leaves no worker behind."""
    with serving(tmp_path, "--workers", "2") as (server, _):
        group = server.process.pid
        assert len(members(group)) == 3
        os.kill(group, signal.SIGKILL)
        server.process.wait(SECONDS)
        poll(lambda: members(group) == [], SECONDS)


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """A worker that dies is started again, with everything that was decided, and is told of in the log."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator)
        before = set(server.workers())
        decision = operator.ok("POST", "/v1/authorize", acme.request(), token=acme.key)
        for pid in before:
            server.kill_worker(pid)
        poll(lambda: len(set(server.workers()) - before) == 2, SECONDS)
        operator.close()
        found = operator.ok("GET", f"/v1/decisions/{decision['decision_id']}", token=acme.key)
        assert found["audit"] == decision["audit"]
        assert server.logs().count("worker_died") == 2
        assert server.stop() == 0


def test_passkeys_are_for_the_domain_that_is_set(tmp_path: Path) -> None:
    """Several origins in one setting; each may ask, another may not."""
    pages = "https://wallet.example.com,https://example.com"
    with serving(tmp_path, "--webauthn-rp-id", "example.com", "--webauthn-origins", pages) as (_, operator):
        acme = found_acme(operator)
        asked = {"identity_id": acme.agent}
        for number, page in enumerate(pages.split(",")):
            options = operator.ok("POST", "/v1/passkeys/options", asked, token=acme.key)
            assert options["rp"]["id"] == "example.com"
            credential = msgspec.to_builtins(Authenticator(number).create(options, origin=page))
            operator.ok("POST", "/v1/passkeys", asked | {"credential": credential}, token=acme.key)
        options = operator.ok("POST", "/v1/passkeys/options", asked, token=acme.key)
        credential = msgspec.to_builtins(Authenticator(5).create(options))
        answer = operator.call("POST", "/v1/passkeys", asked | {"credential": credential}, token=acme.key)
        assert answer.status == 403


# --- Refusing to start ------------------------------------------------------------------------------------------------


def test_an_unknown_flag_is_refused_by_name(tmp_path: Path) -> None:
    assert "--polices" in refused("--polices", "x", data=tmp_path)


def test_a_bad_value_is_refused_by_name(tmp_path: Path) -> None:
    assert "--workers" in refused("--workers", "many", data=tmp_path)
    assert "--durability" in refused(data=tmp_path, SIDECAR_DURABILITY="perhaps")
    assert "--rate-limit" in refused("--rate-limit", "100/week", data=tmp_path)
    assert "--rate-limit" in refused(data=tmp_path, SIDECAR_RATE_LIMIT="plenty")
    (tmp_path / "some.toml").write_text('rate_limit = "0/second"\n')
    assert "--rate-limit" in refused("--config", str(tmp_path / "some.toml"), data=tmp_path)


def test_pages_that_could_not_use_a_passkey_are_refused(tmp_path: Path) -> None:
    """Rather at the start than in each browser."""
    assert "--webauthn-origins" in refused("--webauthn-origins", "https://a.example/path", data=tmp_path)
    assert "--webauthn-origins" in refused(data=tmp_path, SIDECAR_WEBAUTHN_ORIGINS="wallet")
    (tmp_path / "some.toml").write_text('webauthn_rp_id = "b.example"\nwebauthn_origins = "https://a.example"\n')
    assert "passkeys of `b.example`" in refused("--config", str(tmp_path / "some.toml"), data=tmp_path)


def test_an_unknown_variable_is_refused_by_name(tmp_path: Path) -> None:
    assert "SIDECAR_WORKER" in refused(data=tmp_path, SIDECAR_WORKER="2")


@pytest.mark.parametrize(
    ("text", "named"),
    [('polices = "x"\n', "polices"), ("workers = [1]\n", "workers"), ("workers = \n", "cannot be read")],
)
def test_a_bad_settings_file_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    """An unknown key, a value of the wrong shape and broken TOML name the file."""
    (tmp_path / "sidecar.toml").write_text(text)
    complaint = refused("--config", str(tmp_path / "sidecar.toml"), data=tmp_path / "data")
    assert named in complaint
    assert "sidecar.toml" in complaint


def test_a_bad_policy_file_is_refused_with_its_place(tmp_path: Path) -> None:
    """File, line and column of the first fault are in the complaint, for text that does not parse or fit."""
    for text, place in (
        ("permit (principal, action, resource);\npermit (principal,\n  nonsense);\n", "bad.cedar:3:3"),
        ("// fine\npermit (principal, action, resource) when { resource.color == 1 };\n", "bad.cedar:2:"),
    ):
        (tmp_path / "bad.cedar").write_text(text)
        assert place in refused("--policies", str(tmp_path), data=tmp_path / "data")


def test_deeply_nested_policy_text_is_refused_before_it_reaches_the_parser(tmp_path: Path) -> None:
    """Hundreds of parentheses would crash the parser with a segmentation fault."""
    text = "permit (principal, action, resource) when { " + "(" * 2_000 + "true" + ")" * 2_000 + " };"
    (tmp_path / "deep.cedar").write_text(text)
    assert "deep.cedar:1:" in refused("--policies", str(tmp_path), data=tmp_path / "data")


def test_a_bad_schema_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "bad.cedarschema").write_text("entity Merchant;\n\nentity entity entity;\n")
    assert "bad.cedarschema:3:" in refused("--schemas", str(tmp_path), data=tmp_path / "data")


def test_a_missing_schema_is_refused(tmp_path: Path) -> None:
    """An empty schema folder, and a folder of policies that does not exist."""
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("--schemas", str(tmp_path / "empty"), data=tmp_path / "data")
    assert "nowhere" in refused("--policies", str(tmp_path / "nowhere"), data=tmp_path / "data")


def test_an_empty_policy_folder_is_fine(tmp_path: Path) -> None:
    """Then what the API makes decides alone."""
    (tmp_path / "policies").mkdir()
    with serving(tmp_path, "--policies", str(tmp_path / "policies")) as (_, operator):
        acme = found_acme(operator)
        assert operator.ok("POST", "/v1/authorize", acme.request(), token=acme.key)["allowed"] is True


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}" in refused("--port", port, data=tmp_path / "data")


def test_a_data_directory_that_another_server_uses_is_refused(tmp_path: Path) -> None:
    """Its policy files would otherwise take the place of the running server's."""
    data = tmp_path / "data"
    data.mkdir()
    with (data / "server.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another server uses" in refused("--port", "0", data=data)
    assert not (data / "db").exists()


def test_a_data_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Below a file, on a file, and, for those who are not root, without permission."""
    (tmp_path / "file").write_text("")
    assert "file" in refused(data=tmp_path / "file")
    assert "file" in refused(data=tmp_path / "file" / "data")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0)
        assert "closed" in refused(data=tmp_path / "closed")


# --- A store that must not be used ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The data file of a good store with some records."""
    folder = tmp_path_factory.mktemp("kept")
    with serving(folder) as (server, operator):
        acme = found_acme(operator, [{"limit": 100}])
        for amount in (1, 2, 300):
            operator.ok("POST", "/v1/authorize", acme.request(amount), token=acme.key)
        assert server.stop() == 0
    return (folder / "data" / "db" / "data.mdb").read_bytes()


def zeros(_: bytes) -> bytes:
    return bytes(1 << 16)


def cut(good: bytes) -> bytes:
    return good[: len(good) // 2]


def nothing(_: bytes) -> bytes:
    return b""


def noise(good: bytes) -> bytes:
    return good[:16] + bytes(255 - byte for byte in good[16:])


@pytest.mark.parametrize("damage", [zeros, cut, nothing, noise])
def test_a_damaged_store_is_refused_and_left_as_it_is(
    tmp_path: Path, kept: bytes, damage: Callable[[bytes], bytes]
) -> None:
    """It is never replaced by a new one, which would be a rollback to zero."""
    data_file = tmp_path / "data" / "db" / "data.mdb"
    data_file.parent.mkdir(parents=True)
    data_file.write_bytes(damage(kept))
    assert "db" in refused(data=tmp_path / "data", code=EXIT_STORE)
    refused(data=tmp_path / "data", code=EXIT_STORE)


def test_a_store_without_its_data_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "db").mkdir(parents=True)
    assert "db" in refused(data=tmp_path / "data", code=EXIT_STORE)


@pytest.mark.parametrize("found", [b"sidecar-store/2", b"", None])
def test_a_store_of_another_format_is_refused(tmp_path: Path, kept: bytes, found: bytes | None) -> None:
    """An unknown version is never guessed at."""
    place(tmp_path, kept)
    with opened(tmp_path / "data") as environment, environment.begin(write=True) as txn:
        meta = environment.open_db(b"meta", txn=txn)
        if found is None:
            txn.delete(b"format", db=meta)
        else:
            txn.put(b"format", found, db=meta)
    assert "format" in refused(data=tmp_path / "data", code=EXIT_STORE)


def test_a_broken_audit_log_is_refused(tmp_path: Path, kept: bytes) -> None:
    """A record that was changed by hand is found at the start, and named."""
    place(tmp_path, kept)
    with opened(tmp_path / "data") as environment, environment.begin(write=True) as txn:
        audit = environment.open_db(b"audit", txn=txn)
        with txn.cursor(db=audit) as cursor:
            assert cursor.last()
            key, body = bytes(cursor.key()), bytes(cursor.value())
        assert b'"verdict":"deny"' in body
        txn.put(key, body.replace(b'"verdict":"deny"', b'"verdict":"okay"'), db=audit)
    complaint = refused(data=tmp_path / "data", code=EXIT_STORE)
    assert f"broken at {int.from_bytes(key[4:])}" in complaint


def place(folder: Path, content: bytes) -> None:
    """Put a data file where a server in ``folder`` looks for it."""
    path = folder / "data" / "db" / "data.mdb"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


# --- Settings ---------------------------------------------------------------------------------------------------------


def test_a_flag_comes_before_a_variable_before_the_file_before_the_default(tmp_path: Path) -> None:
    """The address a server listens on tells which of the four it took."""
    settings = tmp_path / "sidecar.toml"
    settings.write_text('host = "127.0.0.2"\n')
    variable = {"SIDECAR_HOST": "127.0.0.3"}
    file = {"SIDECAR_CONFIG": str(settings)}
    for flags, environment, host in (
        ((), {}, "127.0.0.1"),
        ((), file, "127.0.0.2"),
        ((), file | variable, "127.0.0.3"),
        (("--host", "127.0.0.4"), file | variable, "127.0.0.4"),
    ):
        with Server(tmp_path, *flags, environment=environment) as server:
            assert server.url.startswith(f"http://{host}:")
            assert server.stop() == 0


def test_the_operators_token_is_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    """Without SIDECAR_ADMIN_TOKEN a random one lies in the data directory, for its owner alone; the log says where."""
    path = tmp_path / "data" / "admin.token"
    server = Server(tmp_path, environment={"SIDECAR_ADMIN_TOKEN": ""})
    found = set()
    for _ in range(2):
        with server:
            token = path.read_text().strip()
            found.add(token)
            with server.client(token) as operator:
                assert operator.call("GET", "/v1/tenants").status == 200
                assert operator.call("GET", "/v1/tenants", token=OPERATOR).status == 401
            assert server.stop() == 0
    (token,) = found
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 43
    told = [json.loads(line) for line in server.logs().splitlines() if "admin_token_created" in line]
    assert [line["path"] for line in told] == [str(path)]
    assert token not in server.logs()


def test_a_socket_file_takes_the_place_of_a_port(tmp_path: Path) -> None:
    """Only this user can connect to it; one that a dead server left behind is replaced."""
    path = tmp_path / "sidecar.sock"
    for _ in range(2):
        with Server(tmp_path, "--uds", str(path), "--workers", "2") as server:
            assert server.ready_lines() == [f"ready on unix:{path}"]
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=SECONDS) as other:
                assert other.get("http://sidecar/v1/health").json()["status"] == "ok"
            with Client(UnixConnection(path, SECONDS)) as client:
                assert client.ok("GET", "/v1/health")["status"] == "ok"
                assert "another process" in refused("--uds", str(path), data=tmp_path / "data")
            server.kill()


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_no_token_is_in_a_log_a_record_or_the_data_file(tmp_path: Path) -> None:
    """Whatever is done with them: made, used, mistyped, deleted, put where they do not belong."""
    operator_token = "operator-secret-that-nobody-shall-read"
    environment = {"SIDECAR_ADMIN_TOKEN": operator_token, "SIDECAR_LOG_LEVEL": "debug"}
    with Server(tmp_path, "--workers", "2", environment=environment) as server, server.client(operator_token) as client:
        acme = found_acme(client)
        made = client.ok("POST", "/v1/tokens", {"name": "a", "identity_id": acme.agent}, token=acme.key)
        secrets = [operator_token, *(token.split("_")[3] for token in (acme.key, made["token"]))]
        misuse(client, acme.request(), [acme.key, made["token"], operator_token])
        records = audit_text(client, acme.key)
        client.ok("DELETE", f"/v1/tokens/{made['token_id']}", token=acme.key)
        assert client.call("POST", "/v1/authorize", acme.request(), token=made["token"]).status == 401
        assert server.stop() == 0
    lines = [json.loads(line) for line in server.logs().splitlines()]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    stored = [path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()]
    for secret in secrets:
        assert secret not in server.logs()
        assert secret not in records
        assert [content for content in stored if secret.encode() in content] == []


def misuse(client: Client, request: Document, tokens: list[str]) -> None:
    """Send tokens in every place where an error could pick them up."""
    for token in tokens:
        client.call("POST", "/v1/authorize", request, token=token, key=f"key-{token[:8]}")
        client.call("POST", "/v1/authorize", request, token=token + "x")
        client.call("POST", "/v1/authorize", request | {token: 1}, token=token)
        client.call("POST", "/v1/authorize", f'{{"a": {token}'.encode(), token=token)
        client.call("GET", f"/v1/identities/{token}", token=token)
        client.call("GET", f"/v1/{token}")
        client.call("GET", f"/v1/audit?token={token}", token=token)
        client.call("GET", "/v1/audit", headers={"Authorization": f"Basic {token}"})
        client.call("GET", "/v1/health", headers={"X-Request-Id": token})


def audit_text(client: Client, key: str) -> str:
    """Return the whole audit log as it is shown."""
    return client.call("GET", "/v1/audit?limit=200", token=key).body.decode()


def test_this_suite_gives_a_server_no_settings_of_its_own() -> None:
    """Otherwise the tests above would depend on whoever runs them."""
    assert not any(name.startswith("SIDECAR_") for name in clean_environment())
    assert not (ROOT / "sidecar.toml").exists()
