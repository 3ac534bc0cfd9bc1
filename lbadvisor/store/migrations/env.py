"""Run by Alembic for every command; prints and logs nothing.

The program passes its connection, in a transaction of its own. A developer's `alembic` gets one to the
default database.
"""

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.sql.schema import SchemaItem

from lbadvisor.store.address import address_of
from lbadvisor.store.dialect import dialect_of
from lbadvisor.store.schema import VERSION_TABLE
from lbadvisor.store.tables import metadata


def include_object(
    _item: SchemaItem, name: str | None, kind: str, _reflected: bool, _compared_to: SchemaItem | None
) -> bool:
    """Whether Alembic may look at it: tables of other programs, such as Optuna's, are left alone."""
    return kind != "table" or name in metadata.tables


def migrate(connection: Connection) -> None:
    """Run the current Alembic command in the connection's transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_object=include_object,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    address = address_of(None)
    engine = dialect_of(address).open_engine(address, create=True)
    with dialect_of(address).for_writing(engine).begin() as connection:
        migrate(connection)
    engine.dispose()
