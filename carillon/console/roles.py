"""Who may do what in the console: three roles, each with all that the one before it may."""

from enum import IntEnum


class Role(IntEnum):
    """What somebody who is signed in may do.

    A viewer reads. A responder also answers incidents, and begins and ends silences. An operator also audits, pauses
    providers, replays and drops dead letters, and reveals addresses.
    """

    VIEWER = 1
    RESPONDER = 2
    OPERATOR = 3

    @property
    def word(self) -> str:
        """The role as people write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: object) -> "Role | None":
        """Return the role of that name; None where there is none."""
        return next((each for each in cls if each.word == word), None)
