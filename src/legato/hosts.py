"""Which hosts are this machine."""

from ipaddress import IPv6Address, ip_address


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, in brackets or not) is this machine, which nobody else reaches by it.

    A name other than `localhost` and those below it is not trusted.
    """
    name = host.removeprefix("[").removesuffix("]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    # Older Pythons take an IPv4 address in the clothes of an IPv6 one for a stranger.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
