"""Shadow files become those that decisions are compared with, once they have passed what live files must pass.

They are a record of their own beside the live ones, with the schema that holds for both, and have to be given anew at
each start: a server that is started without them forgets them and what was found with them. So do other files; the same
ones go on where they were.
"""

from typing import Final

import structlog

from sidecar.app.loading import checked, keep_reading, require_policies, stamp
from sidecar.core.snapshot import PolicyFiles
from sidecar.state.environment import Environment
from sidecar.state.transaction import Transaction

log: Final = structlog.get_logger("sidecar.boot")


def require_shadow(environment: Environment, files: PolicyFiles) -> None:
    """Raise ConfigurationInvalid, naming the place, for shadow files that may not be loaded; nothing is written."""
    with environment.read() as parent:
        _check(Transaction(parent, environment.tables), files)


def load_shadow(environment: Environment, files: PolicyFiles | None) -> None:
    """Write the files as those that decisions are compared with; None is for no comparison.

    Raises ConfigurationInvalid, naming the place, for files that may not be loaded: then the former ones stay.
    """
    parent = environment.begin_write()
    try:
        txn = Transaction(parent, environment.tables)
        if files is None:
            _forget(txn)
        elif txn.shadow_files.checks() != stamp(files):
            _check(txn, files)
            _replace(txn, files)
        parent.commit()
    except BaseException:
        parent.abort()
        raise


def _check(txn: Transaction, files: PolicyFiles) -> None:
    if txn.shadow_files.checks() == stamp(files):
        return
    old = txn.shadow_files.get()
    passed = old if old is not None and txn.shadow_files.checks() == stamp(old) else None
    require_policies(txn, files, checked(files, passed), passed)


def _forget(txn: Transaction) -> None:
    old = txn.shadow_files.get()
    if old is not None:
        _forget_readings(txn, old)
        txn.shadow_files.forget()


def _replace(txn: Transaction, files: PolicyFiles) -> None:
    old = txn.shadow_files.get()
    if old is not None:
        _forget_readings(txn, old)
    for file in files.policies:
        if txn.readings.of(file) is None:
            keep_reading(txn, file)
    txn.shadow_files.keep(files, stamp(files))
    log.info("shadow_files_loaded", files=len(files.policies), digest=files.digest().hex())


def _forget_readings(txn: Transaction, files: PolicyFiles) -> None:
    live = txn.policy_files()
    for file in frozenset(files.policies) - frozenset(() if live is None else live.policies):
        txn.readings.forget(file)
