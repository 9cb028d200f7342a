"""The address of an Ollama, as its own variable gives it."""


def address(host: str) -> str:
    """Return the URL that a value of `OLLAMA_HOST` means. `0.0.0.0` is this machine.

    The rules are those of `envconfig.Host` in Ollama.
    """
    scheme, separator, rest = host.strip().strip("\"'").partition("://")
    if not separator:
        scheme, rest = "http", scheme
    port = "11434" if not separator else "443" if scheme == "https" else "80"
    place, slash, path = rest.partition("/")
    if place.startswith("["):
        name, _, after = place.partition("]")
        name, port_text = name + "]", after.removeprefix(":")
    elif place.count(":") > 1:
        name, port_text = f"[{place}]", ""
    else:
        name, _, port_text = place.partition(":")
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)  # noqa: S104
    if port_text.isdecimal() and int(port_text) <= 65535:
        port = port_text
    return f"{scheme}://{name}:{port}{slash}{path}".rstrip("/")
