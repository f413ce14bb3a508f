"""Whether the index of tenants by their external ids names each tenant that has one, and nothing else."""

from collections.abc import Iterator

from sidecar.state.codec import U32
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import every_row
from sidecar.state.tenants import Tenants, external_key


def check_tenants(txn: Txn, tables: dict[str, Table]) -> Iterator[str]:
    """Yield a sentence for each tenant that is not found by its external id, and for each row that finds none."""
    expected = {
        external_key(tenant.external_id, tenant.mode): tenant
        for tenant in Tenants(txn, tables).after(0)
        if tenant.external_id is not None
    }
    for key, value in every_row(txn, tables["tenant_externals"]):
        tenant = expected.pop(key, None)
        number = U32.unpack(value)[0]
        if tenant is None:
            yield f"an external id of no tenant finds tenant {number}"
        elif tenant.number != number:
            yield f"the external id of tenant `{tenant.tenant_id}` finds tenant {number}"
    for tenant in expected.values():
        yield f"tenant `{tenant.tenant_id}` is not found by its external id"
