"""The migrations of the schema, and the call that applies them.

A new migration is a file in `versions/`, written by hand for both databases. `HEAD` names the last one.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from legato.errors import StorageError

HEAD = "0006"


def migrate(connection: Connection) -> None:
    """Migrate the schema to this version, inside the transaction of `connection`.

    :raises StorageError: the database was written by a newer version.
    """
    if _version(connection) != HEAD:
        _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def _upgrade(connection: Connection) -> None:
    # Importing Alembic takes half a second, so only a start that migrates does it.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StorageError(
            "The database was written by a newer version of Legato. Upgrade Legato, or name another database."
        ) from error
