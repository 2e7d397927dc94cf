"""Who comes first does it: where each router would do the same, one of them does, and all cost what one costs."""

from shared.store.keys import Keys
from shared.store.store import Store


async def comes_first(store: Store, keys: Keys, what: str, for_ms: int) -> bool:
    """Tell whether nobody has come for so long; then the caller does it."""
    return bool(await store.command("SET", f"{keys.slots}:{what}", "", "NX", "PX", for_ms))
