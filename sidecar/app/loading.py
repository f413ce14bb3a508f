"""Policy files become the ones that hold, once they and everything that is stored fit each other.

The same way at a start and beside a running server, whose decisions must not wait: whatever takes long is done before
the *switch*, on read transactions or in many small writes of what is found by its content and so changes nothing. The
switch is one short write transaction. It looks once more at the tenants that changed since they were looked at, and
replaces all files at once: before it the last good ones hold, after it the new ones, in every process and whoever is
killed when.

Files that hold already are not looked at. Otherwise what changed decides what is looked at: files that did not change
have passed, stored identities matter where the schema lost a type, and policies made by the API where it changed at
all. What is read out of the policies is kept for the workers.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Final

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.errors import ConfigurationInvalid, PolicyInvalid, Unavailable, ValidationFailed
from sidecar.core.ids import pascal_case
from sidecar.core.policy import CompiledSchema, compile_schema
from sidecar.core.policy_compilation import read_statements
from sidecar.core.policy_files import check_files, check_records, may_take_id_of_api, stamp
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import PolicyFiles, SourceFile, compile_files, compile_tenant
from sidecar.service.owned_policies import owned_policies
from sidecar.service.policy_store import LastReload, Outcome, PoliciesLoaded, Tried
from sidecar.service.store import Revisions
from sidecar.state.boot import newest_time, typed_identities
from sidecar.state.clock import Clock
from sidecar.state.environment import Environment, Txn
from sidecar.state.transaction import Transaction
from sidecar.state.writer import Writer

FILES_AT_ONCE: Final = 64
LENGTH_AT_ONCE: Final = 1 << 16
"""How many files, and how much text, are kept in one transaction: a few milliseconds."""

TRIES_MAX: Final = 5
"""How often tenants that changed are looked at again outside of the writer lock; the last time it is inside."""

Trial = Callable[[PolicyFiles], str | None]
"""Runs the tests beside the files and returns None when all pass, else a sentence about the first that fails."""


class Wish(msgspec.Struct, frozen=True):
    """Who wants files loaded, and the digest of the folders' content where it is known what was looked at."""

    by: str = "start"
    content: bytes | None = None


class Loaded(msgspec.Struct, frozen=True):
    """What became of the files: their digest and that of those that held before, None for none."""

    outcome: Outcome
    digest: bytes
    before: bytes | None


def untested(_files: PolicyFiles) -> None:
    """Run no tests."""


def checked(files: PolicyFiles, passed: PolicyFiles | None) -> CompiledSchema:
    """Return the schema of files that may hold; ``passed`` have been found to. Raises ConfigurationInvalid."""
    try:
        return check_files(files, passed)
    except (PolicyInvalid, ValidationFailed) as error:
        raise ConfigurationInvalid(error.message) from error


def load(environment: Environment, files: PolicyFiles, trial: Trial = untested, wish: Wish = Wish()) -> Loaded:  # noqa: B008 -- frozen
    """Make ``files`` the ones that hold, unless they are and have passed the checks of this version.

    Raises ConfigurationInvalid, naming the place, for files that may not hold, for a stored identity or policy that
    does not fit them, and for a test that fails; StoreError where the store has no room or is broken.
    """
    with environment.read() as raw:
        txn = Transaction(raw, environment.tables)
        has_passed = txn.policy_files_checks() == stamp(files)
        is_read = txn.readings.are_complete()
        before = txn.policy_files_digest()
        if has_passed and is_read:
            return Loaded("unchanged", files.digest(), before)
        old, passed_by = txn.policy_files(), txn.policy_files_checks()
    passed = old if old is not None and passed_by == stamp(old) else None
    stored = None
    if not has_passed:
        stored = Stored(environment, files, old, passed, checked(files, passed))
        stored.look()
        if files.digest() != before:
            try_out(files, trial)
    with closing(Writer(environment)) as writer:
        # A version without readings did not keep the texts of files either.
        known = frozenset(old.all if is_read and old is not None else ())
        keep_read(writer, *([file for file in some if file not in known] for some in (files.all, files.policies)))
        if not is_read:
            keep_read(writer, (), _policies_of_api(environment))
        if stored is not None:
            _switch(environment, writer, stored, before, wish)
        if not is_read:
            writer.write(lambda txn, _raw: txn.readings.complete())
        holding = frozenset(files.policies)
        forget_read(writer, [] if old is None else [file for file in old.policies if file not in holding])
    return Loaded("unchanged" if files.digest() == before else "loaded", files.digest(), before)


def try_out(files: PolicyFiles, trial: Trial) -> None:
    """Run the tests beside the files. Raises ConfigurationInvalid naming the first that fails."""
    failure = trial(files)
    if failure is not None:
        raise ConfigurationInvalid(failure)


class Stored:
    """Whether what is stored fits files that have been checked, tenant by tenant, as of the revision looked at."""

    def __init__(
        self,
        environment: Environment,
        files: PolicyFiles,
        old: PolicyFiles | None,
        passed: PolicyFiles | None,
        schema: CompiledSchema,
    ) -> None:
        """Compare with ``files``; ``old`` ones held, and ``passed`` where the same checks have looked at them."""
        self.files = files
        self._environment = environment
        self._schema = schema
        types = _identity_types(old)
        # Each identity was made with a type that the schema declared then, so none can lack one otherwise.
        self._looks_at_types = types is None or not types <= schema.model.identity_types
        self._has_new_schema = passed is None or passed.schemas != files.schemas
        self._shares_ids = any(may_take_id_of_api(file) for file in files.shared)
        self._suspects = {tenant for tenant, own in files.by_tenant.items() if any(map(may_take_id_of_api, own))}
        self._seen: dict[int, Revisions] = {}

    def look(self) -> None:
        """Look at each tenant that changed since it was looked at. Raises ConfigurationInvalid naming what misfits."""
        with self._environment.read() as raw:
            moved = self.moved(Transaction(raw, self._environment.tables))
        for tenant in moved:
            with self._environment.read() as raw:  # one each: an old reader keeps pages from being used again
                self.look_at(tenant, Transaction(raw, self._environment.tables), raw)

    def moved(self, txn: Transaction) -> list[Tenant]:
        """Return the tenants that are to be looked at, and changed since they were."""
        if not (self._looks_at_types or self._has_new_schema or self._shares_ids or self._suspects):
            return []
        return [
            tenant for tenant in txn.tenants.after(0) if self._has_moved(txn.tenants.revisions(tenant.number), tenant)
        ]

    def _has_moved(self, now: Revisions, tenant: Tenant) -> bool:
        seen = self._seen.get(tenant.number)
        return seen is None or seen.policies != now.policies or (self._looks_at_types and seen != now)

    def look_at(self, tenant: Tenant, txn: Transaction, raw: Txn) -> None:
        """Look at one tenant, of which a transaction gives both views. Raises ConfigurationInvalid."""
        if self._looks_at_types:
            for identity_id, type_name in typed_identities(raw, self._environment.tables, tenant.number):
                if pascal_case(type_name) not in self._schema.model.identity_types:
                    message = f"tenant `{tenant.tenant_id}`: identity `{identity_id}` has the type `{type_name}`"
                    raise ConfigurationInvalid(f"{message}, which the schema does not declare")
        self._look_at_policies(tenant, txn)
        self._seen[tenant.number] = txn.tenants.revisions(tenant.number)

    def _look_at_policies(self, tenant: Tenant, txn: Transaction) -> None:
        """Look at the policies that the API made: at texts for a new schema, at ids where files take such."""
        is_suspect = self._shares_ids or tenant.tenant_id in self._suspects
        if not (self._has_new_schema or is_suspect):
            return
        records = owned_policies(txn.of(tenant), txn.tenants.revisions(tenant.number)).all()
        try:
            if records and self._has_new_schema:
                check_records(records, self._schema)
            if records and is_suspect:
                compile_tenant(compile_files(self.files), tenant.tenant_id, records)
        except (PolicyInvalid, ValidationFailed) as error:
            raise ConfigurationInvalid(f"tenant `{tenant.tenant_id}`: {error.message}") from error


def _identity_types(files: PolicyFiles | None) -> frozenset[str] | None:
    """Return the types that stored identities can have, None where this version cannot tell."""
    if files is None:
        return None
    try:
        return compile_schema(tuple((file.path, file.text) for file in files.schemas)).model.identity_types
    except PolicyInvalid:
        return None


def keep_read(writer: Writer, texts: Iterable[SourceFile], policies: Iterable[SourceFile]) -> None:
    """Keep texts, and what is in those that hold policies; read before the lock is taken, some in each transaction."""
    for some in _parts(texts):
        writer.write(partial(_keep_texts, texts=some))
    for some in _parts(policies):
        found = [(each, read_statements(each.text, each.path, shared=False)) for each in some]
        writer.write(partial(_keep_readings, found=found))


def _keep_texts(txn: Transaction, _raw: Txn, texts: list[SourceFile]) -> None:
    txn.keep_file_texts(texts)


def _keep_readings(txn: Transaction, _raw: Txn, found: list[tuple[SourceFile, tuple[PolicyUnit, ...]]]) -> None:
    for file, units in found:
        txn.readings.keep(file, units)


def _forget_readings(txn: Transaction, _raw: Txn, files: list[SourceFile]) -> None:
    for file in files:
        txn.readings.forget(file)


def forget_read(writer: Writer, policies: Iterable[SourceFile]) -> None:
    """Forget what is in files that hold no more, some in each transaction."""
    for some in _parts(policies):
        writer.write(partial(_forget_readings, files=some))


def _parts(files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    """Yield files in parts that are small in number and in length, one that is longer alone."""
    part: list[SourceFile] = []
    length = 0
    for file in files:
        if part and (len(part) == FILES_AT_ONCE or length + len(file.text) > LENGTH_AT_ONCE):
            yield part
            part, length = [], 0
        part.append(file)
        length += len(file.text)
    if part:
        yield part


def _policies_of_api(environment: Environment) -> list[SourceFile]:
    with environment.read() as raw:
        txn = Transaction(raw, environment.tables)
        return [listed.value.source for each in txn.tenants.after(0) for listed in txn.of(each).policies.all()]


def _switch(environment: Environment, writer: Writer, stored: Stored, before: bytes | None, wish: Wish) -> None:
    """Replace the files that hold, once nothing that they were compared with has changed since."""
    now_us = Clock(newest_time(environment))()

    def work(txn: Transaction, raw: Txn, is_last: bool) -> bool:  # noqa: FBT001 -- bound by name only
        moved = stored.moved(txn)
        if moved and not is_last:
            return False
        for tenant in moved:
            stored.look_at(tenant, txn, raw)
        if txn.policy_files_digest() != before:
            raise Unavailable("other policy files were loaded meanwhile, try again")
        _replace(txn, stored.files, before, now_us, wish)
        return True

    tries = 1
    while not writer.write(partial(work, is_last=tries == TRIES_MAX)):
        stored.look()
        tries += 1


def _replace(txn: Transaction, files: PolicyFiles, before: bytes | None, now_us: int, wish: Wish) -> None:
    digest = files.digest()
    txn.keep_policy_files_checks(stamp(files))
    if digest == before:
        return
    txn.exchange_policy_files(files)
    txn.keep_policy_files_since(now_us)
    txn.keep_policies_loaded(PoliciesLoaded(digest, len(files.all), wish.by, now_us))
    if wish.content is not None:
        txn.keep_policies_tried(Tried(wish.content, LastReload(now_us, "loaded", wish.by)))


def strangers(environment: Environment, files: PolicyFiles) -> list[str]:
    """Return the tenants that files are meant for and that do not exist (yet)."""
    with environment.read() as raw:
        tenants = Transaction(raw, environment.tables).tenants
        return [tenant_id for tenant_id in files.by_tenant if tenants.find(tenant_id) is None]
