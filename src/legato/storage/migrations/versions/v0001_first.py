"""Conversations, messages, idempotency keys, search and the journal.

Only search differs between the two databases: SQLite has an FTS5 index that triggers keep equal to the table, PostgreSQL
an index over the table itself. Both get text that is already split into words.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE = (
    """
    CREATE VIRTUAL TABLE passages_index USING fts5(
        words, content = 'passages', content_rowid = 'number', tokenize = 'ascii', detail = none
    )
    """,
    """
    CREATE TRIGGER passages_inserted AFTER INSERT ON passages BEGIN
        INSERT INTO passages_index (rowid, words) VALUES (new.number, new.words);
    END
    """,
    """
    CREATE TRIGGER passages_deleted AFTER DELETE ON passages BEGIN
        INSERT INTO passages_index (passages_index, rowid, words) VALUES ('delete', old.number, old.words);
    END
    """,
    """
    CREATE TRIGGER passages_updated AFTER UPDATE ON passages BEGIN
        INSERT INTO passages_index (passages_index, rowid, words) VALUES ('delete', old.number, old.words);
        INSERT INTO passages_index (rowid, words) VALUES (new.number, new.words);
    END
    """,
)

POSTGRESQL = (
    "CREATE INDEX passages_index ON passages USING gin (array_to_tsvector(string_to_array(words, ' ')))",
)


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("assistant", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="conversations_pkey"),
    )
    op.create_index("conversations_by_owner", "conversations", ["owner", "updated_at", "id"])
    op.create_table(
        "messages",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text()),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text()),
        sa.Column("reasoning", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("usage", sa.Text()),
        sa.Column("timings", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="messages_pkey"),
        sa.UniqueConstraint("id", name="messages_id_key"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name="messages_conversation_fkey", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("messages_by_conversation", "messages", ["conversation", "number"])
    streaming = sa.text("status = 'streaming'")
    op.create_index(
        "messages_streaming", "messages", ["number"], sqlite_where=streaming, postgresql_where=streaming
    )
    op.create_table(
        "exchanges",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("client_message_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("question", sa.Text()),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sender", "client_message_id", name="exchanges_pkey"),
        sa.ForeignKeyConstraint(
            ["conversation"],
            ["conversations.id"],
            name="exchanges_conversation_fkey",
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
    )
    op.create_index("exchanges_by_conversation", "exchanges", ["conversation"])
    op.create_table(
        "passages",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("message", sa.Text()),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="passages_pkey"),
        sa.UniqueConstraint("message", name="passages_message_key"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name="passages_conversation_fkey", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("passages_by_conversation", "passages", ["conversation"])
    op.create_table(
        "journal",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="journal_pkey"),
        sqlite_autoincrement=True,
    )
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)
