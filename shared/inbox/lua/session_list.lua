-- Returns the records of a user's open sessions.
return session_records(KEYS[1])
