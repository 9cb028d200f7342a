"""The texts of the demo engine: a few answers that show what the page can do, and a text from which new ones are made."""

import random
import re
import zlib
from functools import lru_cache

WELCOME = """\
Hello! I am the **demo engine**: I need no model, no graphics card and no network, so what I say was written beforehand. \
Everything around me is real, though: these words come as a stream, and a refresh, a lost connection or a second window \
in the middle of this sentence loses none of them.

Ask me for a *list*, a *table* or some *code* to see how answers look. When you want to talk with a real model:

1. Install [Ollama](https://ollama.com), run `ollama pull llama3.2`, and start me again: I will find it.
2. Or start with `legato serve --engine llama`, which fetches a small model of its own.
"""

CODE = """\
Here is a small Python function that counts words, with the most frequent first:

```python
from collections import Counter


def frequent(text: str, count: int = 3) -> list[tuple[str, int]]:
    \"\"\"The most frequent words of a text.\"\"\"
    words = text.lower().split()
    return Counter(words).most_common(count)


print(frequent("the cat and the dog and the bird"))
# [('the', 3), ('and', 2), ('cat', 1)]
```

`Counter` does the counting, and `most_common` sorts. Both are in the standard library.
"""

LIST = """\
Five things that make a good cup of tea:

- **Fresh water.** Water that has boiled for long tastes flat.
- **The right heat.**
    - Black tea: just off the boil, 95 °C or more
    - Green tea: 70 to 80 °C, or it turns bitter
- **Enough leaves.** A heaped teaspoon a cup.
- **Patience.** Three to five minutes, and no stirring.
- **Company.** Optional, but it helps.

> The kettle is the only instrument that everyone can play.
"""

TABLE = """\
The four giant planets, side by side:

| Planet | Diameter | Moons | A day lasts |
| --- | ---: | ---: | ---: |
| Jupiter | 139,820 km | 97 | 9.9 h |
| Saturn | 116,460 km | 274 | 10.7 h |
| Uranus | 50,724 km | 29 | 17.2 h |
| Neptune | 49,244 km | 16 | 16.1 h |

Jupiter alone weighs more than twice as much as all the other planets together. Moons are still being found, so that \
column only ever grows.
"""

STORY = """\
### The lighthouse keeper's letter

Every evening the keeper wrote one line to a friend on the mainland and put it in a bottle. Most bottles came back with \
the tide; he simply threw them in again. *"The sea,"* he said, *"is slow, but it has never lost anything of mine."*

One spring a boat brought an answer to a line he had written seven years before. It began exactly where his own had \
stopped, and not a word was missing.
"""

ANSWERS = (WELCOME, CODE, LIST, TABLE, STORY)

_WISHES = (
    (CODE, r"code|python|program|function|script|bug|sql"),
    (TABLE, r"table|planet|compare|numbers?|columns?"),
    (LIST, r"list|tips|steps|things|ideas|points|tea"),
    (STORY, r"story|tale|poem|write|letter|sea"),
    (WELCOME, r"hello|hi|hey|help|hallo|who are you|what are you|legato|test"),
)
_PATTERNS = tuple((answer, re.compile(rf"\b(?:{words})\b", re.IGNORECASE)) for answer, words in _WISHES)

CORPUS = """\
The river does not hurry, and yet it arrives at the sea before the winter. The old clock in the hall has stopped twice \
this year, and both times the house went on without it. A good door is one that closes softly. The music of the street \
begins before the first bus, when the baker opens the window and the smell of bread walks down to the river. Nobody \
remembers who planted the trees, but everyone sits below them. The train was late, and the people on the platform began \
to talk about the weather, then about the music, and in the end about the sea. A letter that is never sent is still a \
kind of answer. The winter was long, and the old man read every book in the house, and then he read them again in \
another order. The sea keeps the time better than the clock in the hall. When the rain stops, the street shines like \
the back of a fish, and the children run down to the river to look for the moon. The moon does not hurry either. A \
river that is never crossed is still a kind of road. The baker says that bread is only patience and warm water, and \
that the rest is music. Nobody opens the window in the winter, but everyone looks out of it. The last bus goes down to \
the sea without people, and the driver sings. A good answer is one that closes softly. The children have planted a \
clock below the trees, and they say that it will be a tower in the spring. The platform was empty, and the letter was \
still on the bench, and the rain had read it twice. In the spring the street begins to talk again, and the house goes \
on with the windows open. Everyone remembers the train that was early, because it happened once.
"""


def canned(prompt: str) -> str:
    """Return the answer for the prompt, always the same one."""
    for answer, pattern in _PATTERNS:
        if pattern.search(prompt):
            return answer
    return ANSWERS[zlib.crc32(prompt.encode(errors="replace")) % len(ANSWERS)]


def markov(prompt: str) -> str:
    """Return 40 to 120 words of invented sentences; the same prompt gives the same sentences."""
    chance = random.Random(prompt)  # noqa: S311
    beginnings, chain = _chain()
    words: list[str] = []
    wanted = chance.randint(40, 90)
    while len(words) < wanted:
        pair = chance.choice(beginnings)
        sentence = list(pair)
        while not sentence[-1].endswith(".") and len(sentence) < 30:
            pair = (pair[1], chance.choice(chain[pair]))
            sentence.append(pair[1])
        words += [*sentence[:-1], sentence[-1].rstrip(",.") + "."]
    return " ".join(words)


@lru_cache(maxsize=1)
def _chain() -> tuple[list[tuple[str, str]], dict[tuple[str, str], list[str]]]:
    words = CORPUS.split()
    beginnings = [(words[0], words[1])]
    chain: dict[tuple[str, str], list[str]] = {}
    for first, second, third in zip(words, words[1:], words[2:], strict=False):
        chain.setdefault((first, second), []).append(third)
        if first.endswith("."):
            beginnings.append((second, third))
    return beginnings, chain
