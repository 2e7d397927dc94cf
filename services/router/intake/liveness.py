"""What is expected of sources, and what they say: the publishes on ``directory/liveness/…`` and ``liveness/…``."""

from collections.abc import Sequence

from services.router.payloads import control
from services.router.payloads.receipts import AcceptedReceipt
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode, invalid_payload
from shared.core.topics import PLAIN_PUBLISHER
from shared.directory.liveness import GENERATIONS, Liveness, NamedLiveness
from shared.directory.rulebook import SOURCES, Rulebook, TooManyRules
from shared.ledger.sources import Said, Sources


class LivenessActions:
    """Carries out what is published about sources. Each action may be repeated."""

    def __init__(self, rulebook: Rulebook, sources: Sources) -> None:
        self._rulebook = rulebook
        self._sources = sources

    async def carry_out(
        self, publish: control.Said | NamedLiveness | control.DeleteLiveness, publisher: str, receipt: AcceptedReceipt
    ) -> None:
        """Carry out one publish, and say in its receipt what is odd about it.

        Raises:
            Rejected: nobody expects the source, it is another publisher's, or its parents cannot be.
        """
        match publish:
            case NamedLiveness():
                warnings = await self._put(publish)
                if warnings:
                    receipt["warnings"] = [each.document() for each in warnings]
            case control.DeleteLiveness():
                await self._rulebook.delete(Liveness, publish.source)
                await self._sources.forget(publish.source)
            case _:
                await self._hear(publish, publisher)

    async def _hear(self, publish: control.Said, publisher: str) -> None:
        """Note that a source is alive, has connected or has gone.

        Raises:
            Rejected: nothing is expected of it, or only another publisher may speak for it.
        """
        source = publish.source
        record = (await self._rulebook.get(Liveness, [source])).get(source)
        if record is None:
            raise invalid_payload((FieldProblem("source", "unknown"),))
        if record.publisher not in (None, publisher):
            who = "The plain topics' publisher" if publisher == PLAIN_PUBLISHER else "This publisher"
            message = f"{who} may not speak for this source: see its record."
            raise Rejected(RejectionCode.UNAUTHORIZED, message, (FieldProblem("source", "is another publisher's"),))
        match publish:
            case control.Beat():
                await self._sources.heard(source, Said.BEAT, record.patience)
            case control.Birth():
                await self._sources.heard(source, Said.BIRTH, record.patience, publish.session)
            case control.Death():
                said = Said.CLEAN if publish.clean else Said.DEATH
                await self._sources.heard(source, said, record.patience, publish.session)

    async def _put(self, publish: NamedLiveness) -> Sequence[FieldProblem]:
        """Write a record, and say what is odd about it.

        Raises:
            Rejected: its parents make a circle or are too many, or there is no room for one more source.
        """
        is_known = await self._check_parents(publish)
        try:
            await self._rulebook.put(publish.source, publish.record)
        except TooManyRules:
            raise invalid_payload((FieldProblem("source", f"too many: at most {SOURCES}"),)) from None
        return () if is_known else (FieldProblem("children_of", "unknown"),)

    async def _check_parents(self, publish: NamedLiveness) -> bool:
        """Return whether the parent has a record, if there is one."""
        parent = publish.children_of
        for generation in range(GENERATIONS):
            if parent is None:
                return True
            if parent == publish.source:
                raise invalid_payload((FieldProblem("children_of", "makes a circle"),))
            record = (await self._rulebook.get(Liveness, [parent])).get(parent)
            if record is None:
                return generation > 0
            parent = record.children_of
        if parent is None:
            return True
        raise invalid_payload((FieldProblem("children_of", f"too deep: at most {GENERATIONS} above each other"),))
