"""Settings of a conversation: another model, a system prompt, and where the model starts to read."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("choices", sa.Text()))
