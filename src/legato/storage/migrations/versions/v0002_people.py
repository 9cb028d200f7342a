"""Participants, invitations, attachments, and who wrote which part of a reply."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _of_conversation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["conversation"], ["conversations.id"], name=f"{table}_conversation_fkey", ondelete="CASCADE"
    )


def upgrade() -> None:
    op.add_column("messages", sa.Column("spans", sa.Text()))
    op.create_table(
        "participants",
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.PrimaryKeyConstraint("conversation", "user", name="participants_pkey"),
        _of_conversation("participants"),
    )
    op.create_index("participants_by_user", "participants", ["user"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="invitations_pkey"),
        sa.UniqueConstraint("digest", name="invitations_digest_key"),
        _of_conversation("invitations"),
    )
    op.create_index("invitations_by_conversation", "invitations", ["conversation"])
    op.create_table(
        "attachments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="attachments_pkey"),
    )
    op.create_index("attachments_by_owner", "attachments", ["owner"])
    op.create_index("attachments_by_digest", "attachments", ["digest"])
    op.create_table(
        "enclosures",
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("attachment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("conversation", "attachment", name="enclosures_pkey"),
        _of_conversation("enclosures"),
        sa.ForeignKeyConstraint(
            ["attachment"], ["attachments.id"], name="enclosures_attachment_fkey", ondelete="CASCADE"
        ),
    )
    op.create_index("enclosures_by_attachment", "enclosures", ["attachment"])
