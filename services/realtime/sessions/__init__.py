"""The sessions of one process and what each of them is told; nothing here knows HTTP."""
