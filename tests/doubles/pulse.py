"""An `Out` that hears what cannot be read."""

from legato.testing.engine import Recorder


class Pulse(Recorder):
    """Counts the signs of life that are nothing else."""

    signs = 0

    def text(self, text: str) -> None:
        self.signs += not text
        super().text(text)
