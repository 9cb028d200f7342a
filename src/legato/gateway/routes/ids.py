"""Ids in paths: any id that a client may choose or an issuer of tokens gives a user, with slashes written as `%2F`."""

from urllib.parse import quote

from starlette.convertors import Convertor, register_url_convertor


class Id(Convertor[str]):
    """Matches `{conversation:id}`.

    A path is matched after decoding, so an id may look like several segments. Routes with more segments behind an id
    therefore come before those without, and an id that ends like such a route (`a/messages`) cannot be reached. If a path has
    two ids and a slash could belong to either, it belongs to the second: users often have an address as their id.
    """

    regex = ".+?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("id", Id())
