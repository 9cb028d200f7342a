"""What the messages of each user take, by conversation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COUNT = """
    INSERT INTO text_usage (conversation, "user", bytes)
    SELECT messages.conversation, COALESCE(
        messages.author, CASE WHEN messages.role = 'assistant' THEN question.author END, conversations.owner
    ), SUM({size})
    FROM messages
    JOIN conversations ON conversations.id = messages.conversation
    LEFT JOIN messages AS question ON question.id = messages.parent
    GROUP BY 1, 2
"""
"""A reply counts for the author of its question."""

SIZES = {
    "sqlite": "512 + length(CAST(messages.parts AS BLOB)) + length(CAST(messages.reasoning AS BLOB))",
    "postgresql": "512 + octet_length(messages.parts) + octet_length(messages.reasoning)",
}


def upgrade() -> None:
    op.create_table(
        "text_usage",
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("conversation", "user", name="text_usage_pkey"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name="text_usage_conversation_fkey", ondelete="CASCADE"
        ),
    )
    op.create_index("text_usage_by_user", "text_usage", ["user", "bytes"])
    op.execute(COUNT.format(size=SIZES[op.get_bind().dialect.name]))
