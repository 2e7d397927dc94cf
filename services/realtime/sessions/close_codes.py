"""The codes that a WebSocket is closed with. An event stream ends without one.

Source: RFC 6455, 7.4.1, and section 5 of the wire contract for those from 4000 on.
"""

GOING_AWAY = 1001
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
UNAUTHENTICATED = 4001
TOO_SLOW = 4008
TOO_MANY_SESSIONS = 4009
