"""Alembic runs this file: run the migrations on the connection of `migrate`, in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
