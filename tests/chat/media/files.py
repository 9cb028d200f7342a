"""Real files for tests: pictures and recordings as other programs wrote them."""

import base64
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "data" / "media"

PICTURE = (FOLDER / "picture.png").read_bytes()
OTHER_PICTURE = (FOLDER / "picture.webp").read_bytes()
SOUND = (FOLDER / "sound.wav").read_bytes()
SPOKEN = (FOLDER / "recorder.webm").read_bytes()


def data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
