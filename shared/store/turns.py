"""Whose turn it is: where each router would do the same, one of them does it, and all cost what one costs."""

from shared.store.keys import Keys
from shared.store.store import Store


async def take_turn(store: Store, keys: Keys, what: str, for_ms: int) -> bool:
    """Tell whether nobody has had this turn for so long; then it is the caller's."""
    return bool(await store.command("SET", f"{keys.slots}:{what}", "", "NX", "PX", for_ms))
