"""The heart: a reply is an append-only log, and everyone who looks at it is a cursor.

Nothing here does I/O, reads a clock, or knows of asyncio.
"""

from legato.stream.events import (
    Event,
    Failed,
    Finished,
    Phase,
    Reasoning,
    Rewound,
    Span,
    State,
    Terminal,
    Text,
    Timings,
    ToolAsked,
    ToolFinished,
    ToolStarted,
    Usage,
)
from legato.stream.fold import Fold, ToolUse
from legato.stream.log import Batch, Log, LogClosedError
from legato.stream.position import Continue, Position, Reset, ResetReason, resume
from legato.stream.viewer import Encoding, Flusher, Sink, Viewer

__all__ = [
    "Batch",
    "Continue",
    "Encoding",
    "Event",
    "Failed",
    "Finished",
    "Flusher",
    "Fold",
    "Log",
    "LogClosedError",
    "Phase",
    "Position",
    "Reasoning",
    "Reset",
    "ResetReason",
    "Rewound",
    "Sink",
    "Span",
    "State",
    "Terminal",
    "Text",
    "Timings",
    "ToolAsked",
    "ToolFinished",
    "ToolStarted",
    "ToolUse",
    "Usage",
    "Viewer",
    "resume",
]
