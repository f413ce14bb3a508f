"""Shadow files become those that decisions are compared with, once they have passed what live files must pass.

They are a record of their own beside the live ones, with the schema that holds for both, and have to be given anew at
each start: a server that is started without them forgets them and what was found with them. So do other files; the same
ones go on where they were. As with live files, what takes long is done before the one short write that exchanges them.
"""

from contextlib import closing
from functools import partial

from sidecar.app.loading import Stored, checked, forget_read, keep_read
from sidecar.core.policy_files import stamp
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.state.environment import Environment, Txn
from sidecar.state.transaction import Transaction
from sidecar.state.writer import Writer


def require_shadow(environment: Environment, files: PolicyFiles) -> None:
    """Raise ConfigurationInvalid, naming the place, for shadow files that may not be loaded; nothing is written."""
    with environment.read() as raw:
        shadow = Transaction(raw, environment.tables).shadow_files
        old, passed_by = shadow.get(), shadow.checks()
    if passed_by == stamp(files):
        return
    passed = old if old is not None and passed_by == stamp(old) else None
    # Types of identities are looked at with the live files, which have the same schema.
    Stored(environment, files, files, passed, checked(files, passed)).look()


def load_shadow(environment: Environment, files: PolicyFiles | None) -> bool:
    """Write the files as those that decisions are compared with, None for no comparison; returns whether they changed.

    Raises ConfigurationInvalid, naming the place, for files that may not be loaded: then the former ones stay.
    """
    with environment.read() as raw:
        txn = Transaction(raw, environment.tables)
        live, old, passed_by = txn.policy_files(), txn.shadow_files.get(), txn.shadow_files.checks()
    if (None if files is None else stamp(files)) == passed_by:
        return False
    if files is not None:
        require_shadow(environment, files)
    known, live_ones = _policies(old), _policies(live)
    wanted = _policies(files)
    with closing(Writer(environment)) as writer:
        keep_read(writer, (), wanted - known - live_ones)
        writer.write(partial(_exchange, files=files))
        forget_read(writer, known - wanted - live_ones)
    return True


def _policies(files: PolicyFiles | None) -> frozenset[SourceFile]:
    return frozenset(() if files is None else files.policies)


def _exchange(txn: Transaction, _raw: Txn, files: PolicyFiles | None) -> None:
    if files is None:
        txn.shadow_files.forget()
    else:
        txn.shadow_files.keep(files, stamp(files))
