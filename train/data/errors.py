"""What goes wrong with data in ways that the user can mend."""


class DataError(ValueError):
    """Data that cannot be used. The message is one line that names the culprit; trainers print it and exit with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class UnreadableImage(Exception):
    """One image that cannot be decoded; such images are listed and skipped. The message says why."""
