"""Which models write replies. Servers also list models that only embed or rank, and few say which is which."""

import re

_OTHERS = re.compile(r"embed|rerank|minilm|(?<![a-z])(bge|gte|e5)(?![a-z0-9])")


def is_chat_model(name: str, family: str = "") -> bool:
    """Return whether a model with this name, and this family if it is known, writes replies, as far as they tell.

    All families of BERT encode and do not write.
    """
    return "bert" not in family.lower() and not _OTHERS.search(name.lower())
