"""Running replies with their owner and term, decisions on tool calls, and the journal by gateway."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

STREAMING = """
    INSERT INTO running (reply, conversation, gateway, term, "user")
    SELECT id, conversation, 'local', 1, COALESCE((
        SELECT question.author FROM messages AS question
        WHERE question.id = messages.parent
        AND (SELECT count(*) FROM messages AS sibling WHERE sibling.parent = messages.parent) = 1
    ), '')
    FROM messages WHERE status = 'streaming' ORDER BY number
"""
"""The user of an unfinished reply is the author of its question. If the reply was regenerated, the user is not known."""


def upgrade() -> None:
    op.create_table(
        "gateways",
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="gateways_pkey"),
    )
    op.execute("INSERT INTO gateways (id) VALUES ('local')")
    op.create_table(
        "running",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("wanted", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="running_pkey"),
        sa.UniqueConstraint("reply", name="running_reply_key"),
        sa.ForeignKeyConstraint(["reply"], ["messages.id"], name="running_reply_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name="running_conversation_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["gateway"], ["gateways.id"], name="running_gateway_fkey"),
        sqlite_autoincrement=True,
    )
    op.create_index("running_by_conversation", "running", ["conversation", "number"])
    op.create_index("running_by_gateway", "running", ["gateway", "number"])
    op.create_table(
        "approvals",
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("allow", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("reply", "call", name="approvals_pkey"),
        sa.ForeignKeyConstraint(
            ["reply"], ["running.reply"], name="approvals_reply_fkey", ondelete="CASCADE"
        ),
    )
    op.add_column("journal", sa.Column("gateway", sa.Text(), nullable=False, server_default="local"))
    op.create_index("journal_by_gateway", "journal", ["gateway", "number"])
    op.execute(STREAMING)
