"""Faults: a broken template, which stops the router, and data that does not fit it, which refuses a publish."""

from services.router.payloads.rejection import FIELD_CHARS, FieldProblem
from shared.core.errors import CarillonError


class BrokenTemplate(CarillonError):
    """A template's file cannot be used; the text names file and line."""

    def __init__(self, file: str, line: int | None, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")


class Unrenderable(CarillonError):
    """The data does not fit the template; says field by field what is wrong and repeats no value."""

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.problem}" for each in problems))
        self.problems = problems

    @classmethod
    def of(cls, field: str, problem: str) -> "Unrenderable":
        """Build it of one problem."""
        return cls((FieldProblem(field[:FIELD_CHARS], problem),))
