"""Characters of outside text that a reader does not see. Each constant is the inside of a regular expression's `[…]`."""

from typing import Final

CONTROL: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Control characters, which steer a terminal or end a line."""

DIRECTION: Final = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that change the direction of what follows: `\u202e` makes `gpj.exe` of `exe.jpg`."""

INVISIBLE: Final = r"\u00ad\u180e\u200b\u2060-\u2065\ufeff\ufff9-\ufffb\U000e0000-\U000e007f" + DIRECTION
"""Characters without a width, those of `DIRECTION` included."""

JOINERS: Final = r"\u200c\u200d"
"""The two joiners: invisible as well, but Persian words and emoji need them."""
