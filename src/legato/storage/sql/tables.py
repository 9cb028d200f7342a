"""The tables, the same in SQLite and PostgreSQL. The search indexes, which differ, are created by the migrations.

Times are microseconds since 1970 in UTC. `number` counts insertions: it orders rows, and no jump of the clock changes it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)

Number = BigInteger().with_variant(Integer, "sqlite")
"""SQLite assigns numbers by itself only in a column of the type INTEGER."""


def _number() -> Column[int]:
    return Column("number", Number, primary_key=True, autoincrement=True)


def _conversation(deferred: bool = False) -> Column[str]:
    key = ForeignKey(
        "conversations.id",
        ondelete="CASCADE",
        deferrable=deferred or None,
        initially="DEFERRED" if deferred else None,
    )
    return Column("conversation", Text, key, nullable=False)


conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("assistant", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("head", Text),
    Column("choices", Text),
    Index("conversations_by_owner", "owner", "updated_at", "id"),
)

messages = Table(
    "messages",
    metadata,
    _number(),
    Column("id", Text, nullable=False),
    _conversation(),
    Column("parent", Text),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("parts", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("author", Text),
    Column("reasoning", Text, nullable=False),
    Column("model", Text),
    Column("detail", Text),
    Column("usage", Text),
    Column("timings", Text),
    Column("spans", Text),
    Column("log_end", Text),
    UniqueConstraint("id"),
    Index("messages_by_conversation", "conversation", "number"),
    Index(
        "messages_streaming",
        "number",
        sqlite_where=text("status = 'streaming'"),
        postgresql_where=text("status = 'streaming'"),
    ),
    sqlite_autoincrement=True,
)

exchanges = Table(
    "exchanges",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("client_message_id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    _conversation(deferred=True),
    Column("question", Text),
    Column("reply", Text, nullable=False),
    Index("exchanges_by_conversation", "conversation"),
)
"""Idempotency keys of `begin`. The row is written before its conversation, which the same transaction may create."""

passages = Table(
    "passages",
    metadata,
    _number(),
    _conversation(),
    Column("message", Text),
    Column("words", Text, nullable=False),
    UniqueConstraint("message"),
    Index("passages_by_conversation", "conversation"),
    sqlite_autoincrement=True,
)
"""The searchable words of a message or, if `message` is NULL, of the title."""

journal = Table(
    "journal",
    metadata,
    _number(),
    Column("entries", LargeBinary, nullable=False),
    Column("gateway", Text, nullable=False, server_default="local"),
    Index("journal_by_gateway", "gateway", "number"),
    sqlite_autoincrement=True,
)
"""What the logs of a gateway's running replies gained, one row for all replies together."""

gateways = Table("gateways", metadata, Column("id", Text, primary_key=True))
"""The gateways that may run replies. Another one adopts the replies of a gateway that is gone. The migration adds `local`."""

running = Table(
    "running",
    metadata,
    _number(),
    Column("reply", Text, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    _conversation(),
    Column("gateway", Text, ForeignKey("gateways.id"), nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("user", Text, nullable=False),
    Column("wanted", Text),
    UniqueConstraint("reply"),
    Index("running_by_conversation", "conversation", "number"),
    Index("running_by_gateway", "gateway", "number"),
    sqlite_autoincrement=True,
)
"""One row for each reply that runs or waits: who runs it, and under which term. `wanted` is `stop` or NULL.

In one conversation replies run in the order of `number`.
"""

approvals = Table(
    "approvals",
    metadata,
    Column("reply", Text, ForeignKey("running.reply", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("call", Text, primary_key=True, nullable=False),
    Column("allow", Boolean, nullable=False),
)
"""Decisions on the tool calls of running replies. The first decision on a call counts."""

participants = Table(
    "participants",
    metadata,
    Column(
        "conversation",
        Text,
        ForeignKey("conversations.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("user", Text, primary_key=True, nullable=False),
    Column("standing", Text, nullable=False),
    Column("joined_at", BigInteger, nullable=False),
    Column("name", Text),
    Index("participants_by_user", "user"),
)
"""Users who joined. The conversation itself names its owner; a row of the owner holds only the display name."""

invitations = Table(
    "invitations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    _conversation(),
    Column("standing", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    UniqueConstraint("digest"),
    Index("invitations_by_conversation", "conversation"),
)

attachments = Table(
    "attachments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("name", Text),
    Index("attachments_by_owner", "owner"),
    Index("attachments_by_digest", "digest"),
)

enclosures = Table(
    "enclosures",
    metadata,
    Column(
        "conversation",
        Text,
        ForeignKey("conversations.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column(
        "attachment", Text, ForeignKey("attachments.id", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Index("enclosures_by_attachment", "attachment"),
)
"""Which conversations hold an attachment: every reader of one of them may read the attachment."""

api_streams = Table(
    "api_streams",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("api", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("error", Text),
    Column("idempotency_key", Text),
    Column("fingerprint", Text, nullable=False),
    Column("request", Text),
    Column("result", Text),
    UniqueConstraint("owner", "idempotency_key"),
    Index("api_streams_by_expiry", "expires_at"),
    Index(
        "api_streams_running",
        "created_at",
        sqlite_where=text("NOT ended"),
        postgresql_where=text("NOT ended"),
    ),
)
"""Responses of the APIs that outlive their connection."""

api_frames = Table(
    "api_frames",
    metadata,
    Column(
        "stream", Text, ForeignKey("api_streams.id", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Column("first", BigInteger, primary_key=True, nullable=False, autoincrement=False),
    Column("sizes", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""The frames of a stream, several in a row: `sizes` are their lengths, as JSON."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    UniqueConstraint("digest"),
    Index("api_keys_by_user", "user", "created_at"),
)

api_usage = Table(
    "api_usage",
    metadata,
    Column("day", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
)

text_usage = Table(
    "text_usage",
    metadata,
    Column(
        "conversation",
        Text,
        ForeignKey("conversations.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("user", Text, primary_key=True, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index("text_usage_by_user", "user", "bytes"),
)
"""What the messages of a user, and the replies to them, take in a conversation."""
