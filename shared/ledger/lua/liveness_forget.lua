-- Disarm a source whose record was deleted, and close its incident.
--
-- ARGV: source.

forget(ARGV[1])
return 1
