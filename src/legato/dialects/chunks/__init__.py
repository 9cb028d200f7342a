"""The dialect `chunks`: resumable replies and idempotent messages."""
