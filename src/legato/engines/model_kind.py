"""Which models write replies. Servers list those that only embed or rank beside them, and few say which is which."""

import re

_OTHERS = re.compile(r"embed|rerank|minilm|(?<![a-z])(bge|gte|e5)(?![a-z0-9])")


def is_chat_model(name: str, family: str = "") -> bool:
    """Whether a model of this name, and of this family where it is known, writes replies, as far as they tell.

    All families of BERT encode and do not write.
    """
    return "bert" not in family.lower() and not _OTHERS.search(name.lower())
