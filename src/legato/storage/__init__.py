"""What is kept: conversations, messages, and the journal of replies that are being written."""
