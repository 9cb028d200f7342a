"""The token of an `Authorization` header."""


def bearer_token(authorization: str) -> str | None:
    """Return the token of `Bearer TOKEN`, without the blanks around it; None for any other scheme or an empty header."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
