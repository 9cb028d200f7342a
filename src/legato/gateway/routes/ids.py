"""Ids in addresses: any that a client may choose, or that an issuer of tokens gives a user, with slashes written as `%2F`."""

from urllib.parse import quote

from starlette.convertors import Convertor, register_url_convertor


class Id(Convertor[str]):
    """`{conversation:id}`. An address is taken apart when it is decoded already, so an id may look like several segments: routes
    with more behind an id stand before those without, and one that ends like such a route (`a/messages`) is out of reach. Of two
    ids in one address the second has the slashes that could be either's: users are often called by an address themselves."""

    regex = ".+?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("id", Id())
