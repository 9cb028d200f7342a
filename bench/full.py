"""The whole server, as `legato serve` runs it, with the load generator in the place of a model.

    full.py PORT FEED_PORT DIRECTORY direct|asgi

Auth is on by LEGATO_JWT_SECRET; conversations are kept in DIRECTORY.
"""

import os
import sys
from functools import partial

import legato.gateway.engine_factory
from feed_engine import FeedEngine
from legato.gateway.server import serve
from legato.gateway.settings import Settings


def main() -> int:
    port, feed, directory, websocket = sys.argv[1:]
    vars(legato.gateway.engine_factory)["DemoEngine"] = partial(FeedEngine, int(feed))
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
