"""Lengths of time and numbers of bytes, as people read them at a glance."""


def short(length_s: float) -> str:
    """Write a length of time with its two largest units: ``3 h 20 min``."""
    seconds = round(length_s)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min" + (f" {seconds % 60} s" if seconds < 600 and seconds % 60 else "")
    if seconds < 86400:
        return f"{seconds // 3600} h" + (f" {seconds % 3600 // 60} min" if seconds % 3600 >= 60 else "")
    days, rest = divmod(seconds, 86400)
    return f"{days} d" + (f" {rest // 3600} h" if rest >= 3600 else "")


def short_bytes(count: int) -> str:
    """Write a number of bytes in its largest unit: ``1.2 GB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
