"""What an import has to say about what it read: what is lost, and what somebody should know.

Promises that nothing is left out in silence: a reader that cannot use a field says so here. Texts name objects and
fields. They repeat the names of schedules and policies, and no address.
"""

from dataclasses import dataclass, field

# What is wrong with a thousand objects is wrong with the file.
REMARKS = 1000


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that was not carried over as it was.

    Attributes:
        place: the object, such as ``schedule "Night"``.
        field: where in the object, such as ``rotations[0].endDate``; empty is the whole object.
        problem: what became of it.
        advice: what to do; empty is nothing.
        lost: False is something to know that changes nobody's turn and nobody's alert.
    """

    place: str
    field: str
    problem: str
    advice: str = ""
    lost: bool = True

    def __str__(self) -> str:
        where = f"{self.place}, {self.field}" if self.field else self.place
        return f"{'lost' if self.lost else 'note'}: {where}: {self.problem}" + (
            f" ({self.advice})" if self.advice else ""
        )

    def document(self) -> dict[str, object]:
        """Return it as JSON."""
        return {"object": self.place, "field": self.field, "problem": self.problem, "advice": self.advice}


@dataclass(slots=True)
class Remarks:
    """Every remark of one import, each once.

    Attributes:
        left_out: how many there were beyond the limit.
    """

    _found: dict[Remark, None] = field(default_factory=dict)
    left_out: int = 0

    def add(self, remark: Remark) -> None:
        """Keep one."""
        if len(self._found) >= REMARKS and remark not in self._found:
            self.left_out += 1
        else:
            self._found[remark] = None

    def lost(self, place: str, name: str, problem: str, advice: str = "") -> None:
        """Say that something is not as it was."""
        self.add(Remark(place, name, problem, advice))

    def note(self, place: str, name: str, problem: str, advice: str = "") -> None:
        """Say what somebody should know."""
        self.add(Remark(place, name, problem, advice, lost=False))

    @property
    def all_lost(self) -> tuple[Remark, ...]:
        """What is lost, in the order in which it was found."""
        return tuple(each for each in self._found if each.lost)

    @property
    def notes(self) -> tuple[Remark, ...]:
        """What somebody should know, in the order in which it was found."""
        return tuple(each for each in self._found if not each.lost)
