"""What users may read of an error."""

import pytest

from legato.domain.public_text import public_text


@pytest.mark.parametrize(
    ("text", "public"),
    [
        (
            "Ollama at http://10.0.0.3:11434 cannot be reached (Connection refused). Start it.",
            "Ollama cannot be reached (Connection refused). Start it.",
        ),
        (
            "The server redirects to https://gpu.intern:8443/v1: set that.",
            "The server redirects to an address: set that.",
        ),
        ("Cannot connect to host gpu1.intern:8000.", "Cannot connect to host an address."),
        ("It is at 192.168.1.7 and [fe80::1]:80.", "It is at an address and an address."),
        (
            "cannot be reached (the name gpu.intern is not known).",
            "cannot be reached (its name is not known).",
        ),
        ("unable to open /srv/legato/legato.db: no room", "unable to open a file: no room"),
        ("See ~/models/m.gguf.", "See a file."),
        ("JSON schema error at #/type/1: must be.", "JSON schema error at #/type/1: must be."),
        (r"See C:\models\m.gguf.", "See a file."),
        ("Set LEGATO_AGENT_KEY.", "Set a setting."),
        ("It broke.\nTraceback (most recent call last):\n  File x", "It broke."),
        (
            "Type /help and/or ask for 1/2 of it: 3.5 s, 12:30, 1.2.3.",
            "Type /help and/or ask for 1/2 of it: 3.5 s, 12:30, 1.2.3.",
        ),
        ("The model org/model:7b-q4_K_M is busy.", "The model org/model:7b-q4_K_M is busy."),
        ("No available agents", "No available agents"),
    ],
)
def test_addresses_paths_and_settings_are_left_out(text: str, public: str) -> None:
    assert public_text(text) == public
