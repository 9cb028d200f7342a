"""Settings and tokens for the tests of dialects on whole servers."""

import time
from typing import Any

import jwt

SECRET = "a secret of the tests that is long enough"
AUTH: dict[str, Any] = {"auth": {"jwt_secret": SECRET}}


def token(user: str, *, ttl: float = 600, secret: str = SECRET, **claims: object) -> str:
    return jwt.encode({"sub": user, "exp": time.time() + ttl, **claims}, secret, "HS256")
