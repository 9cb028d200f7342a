"""The whole server, as `legato serve` runs it, with the load generator in the place of a model.

    full.py PORT FEED_PORT DIRECTORY direct|asgi

Auth is on by LEGATO_JWT_SECRET; conversations are kept in DIRECTORY.
"""

import os
import sys

from msgspec.structs import replace

from feed_engine import FeedEngine
from legato.engines.registry import ENGINE_TYPES
from legato.gateway.server import serve
from legato.gateway.settings import Settings


def main() -> int:
    port, feed, directory, websocket = sys.argv[1:]
    ENGINE_TYPES["demo"] = replace(ENGINE_TYPES["demo"], make=lambda settings, context: FeedEngine(int(feed)))
    settings = Settings.model_validate(
        {
            "server": {"port": port, "data_dir": directory, "websocket": websocket},
            "auth": {"jwt_secret": os.environ["LEGATO_JWT_SECRET"]},
            "assistants": {"default": {"engine": "demo", "model": "demo:echo"}},
        }
    )
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
