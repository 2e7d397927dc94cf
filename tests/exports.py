"""Small exports of other products, made up, in the form that their APIs document."""

from typing import Any

OPSGENIE: dict[str, Any] = {
    "schedules": {
        "data": [
            {
                "id": "s-1", "name": "Platform", "timezone": "Europe/Paris", "enabled": True,
                "rotations": [
                    {
                        "id": "r-day", "name": "Day", "type": "weekly", "length": 1,
                        "startDate": "2026-10-05T07:00:00Z",
                        "participants": [
                            {"type": "user", "id": "u-1", "username": "user1@example.com"},
                            {"type": "user", "id": "u-2", "username": "user2@example.com"},
                        ],
                        "timeRestriction": {
                            "type": "weekday-and-time-of-day",
                            "restrictions": [
                                {
                                    "startDay": day, "endDay": day,
                                    "startHour": 9, "startMin": 0, "endHour": 17, "endMin": 30,
                                }
                                for day in ("monday", "tuesday", "wednesday", "thursday", "friday")
                            ],
                        },
                    },
                    {
                        "id": "r-all", "name": "Always", "type": "daily", "length": 2,
                        "startDate": "2026-10-05T16:00:00Z",
                        "participants": [
                            {"type": "user", "id": "u-2", "username": "user2@example.com"},
                            {"type": "user", "id": "u-3", "username": "user3@example.com"},
                            {"type": "user", "id": "u-1", "username": "user1@example.com"},
                        ],
                    },
                ],
                "overrides": [
                    {
                        "alias": "o-1", "user": {"type": "user", "id": "u-3", "username": "user3@example.com"},
                        "startDate": "2026-10-20T08:00:00Z", "endDate": "2026-10-20T12:00:00Z",
                        "rotations": [{"id": "r-day"}],
                    }
                ],
            }
        ]
    },
    "escalations": {
        "data": [
            {
                "id": "e-1", "name": "Platform: page",
                "rules": [
                    {
                        "condition": "if-not-acked", "notifyType": "default",
                        "delay": {"timeAmount": 0, "timeUnit": "minutes"},
                        "recipient": {"type": "schedule", "id": "s-1", "name": "Platform"},
                    },
                    {
                        "condition": "if-not-acked", "notifyType": "admins",
                        "delay": {"timeAmount": 10, "timeUnit": "minutes"},
                        "recipient": {"type": "team", "id": "t-1", "name": "Platform team"},
                    },
                ],
                "repeat": {"waitInterval": 5, "count": 1, "resetRecipientStates": False, "closeAlertAfterAll": False},
            }
        ]
    },
    "users": {
        "data": [
            {"id": "u-1", "username": "user1@example.com", "fullName": "User One", "timeZone": "Europe/Paris"},
            {
                "id": "u-2", "username": "user2@example.com", "fullName": "User Two", "timeZone": "Europe/Paris",
                "userContacts": [{"contactMethod": "sms", "to": "1-2025550143", "enabled": True}],
            },
            {"id": "u-3", "username": "user3@example.com", "fullName": "User Three", "timeZone": "America/New_York"},
        ]
    },
    "teams": {
        "data": [
            {
                "id": "t-1", "name": "Platform team",
                "members": [
                    {"user": {"id": "u-1", "username": "user1@example.com"}, "role": "user"},
                    {"user": {"id": "u-3", "username": "user3@example.com"}, "role": "admin"},
                ],
            }
        ]
    },
}  # fmt: skip

PAGERDUTY: dict[str, Any] = {
    "schedules": [
        {
            "id": "PSCHED1", "type": "schedule", "name": "Shop / primary", "time_zone": "America/New_York",
            # The API gives the layer that wins first.
            "schedule_layers": [
                {
                    "id": "PLAYER3", "name": "Layer 2", "start": "2026-10-01T00:00:00-04:00", "end": None,
                    "rotation_virtual_start": "2026-10-02T17:00:00-04:00", "rotation_turn_length_seconds": 1209600,
                    "users": [{"user": {"id": "PUSER3", "type": "user_reference", "summary": "User Three"}}] * 1
                    + [{"user": {"id": "PUSER1", "type": "user_reference", "summary": "User One"}}],
                    "restrictions": [
                        {
                            "type": "weekly_restriction", "start_day_of_week": 5,
                            "start_time_of_day": "17:00:00", "duration_seconds": 226800,
                        }
                    ],
                },
                {
                    "id": "PLAYER2", "name": "Layer 1", "start": "2026-10-01T00:00:00-04:00", "end": None,
                    "rotation_virtual_start": "2026-09-28T08:00:00-04:00", "rotation_turn_length_seconds": 43200,
                    "users": [
                        {"user": {"id": "PUSER1", "type": "user_reference", "summary": "User One"}},
                        {"user": {"id": "PUSER2", "type": "user_reference", "summary": "User Two"}},
                    ],
                    "restrictions": [
                        {"type": "daily_restriction", "start_time_of_day": "06:00:00", "duration_seconds": 64800}
                    ],
                },
            ],
            "overrides_subschedule": {
                "name": "Overrides",
                "rendered_schedule_entries": [
                    {
                        "start": "2026-10-22T01:00:00-04:00", "end": "2026-10-22T10:00:00-04:00",
                        "user": {"id": "PUSER2", "type": "user_reference", "summary": "User Two"},
                    }
                ],
            },
        }
    ],
    "escalation_policies": [
        {
            "id": "PPOLICY", "type": "escalation_policy", "name": "Shop", "num_loops": 2,
            "services": [{"id": "PSERV", "type": "service_reference", "summary": "Checkout"}],
            "escalation_rules": [
                {
                    "id": "PRULE1", "escalation_delay_in_minutes": 15,
                    "targets": [{"id": "PSCHED1", "type": "schedule_reference", "summary": "Shop / primary"}],
                },
                {
                    "id": "PRULE2", "escalation_delay_in_minutes": 30,
                    "targets": [{"id": "PUSER3", "type": "user_reference", "summary": "User Three"}],
                },
            ],
        }
    ],
    "users": [
        {
            "id": "PUSER1", "type": "user", "name": "User One", "email": "user1@example.com",
            "time_zone": "America/New_York",
            "contact_methods": [
                {"id": "PCM1", "type": "phone_contact_method", "country_code": 1, "address": "2025550143"}
            ],
        },
        {"id": "PUSER2", "type": "user", "name": "User Two", "email": "user2@example.com", "time_zone": "Etc/UTC"},
        {"id": "PUSER3", "type": "user", "name": "User Three", "email": "user3@example.com", "time_zone": "Etc/UTC"},
    ],
}  # fmt: skip

ONCALL: dict[str, Any] = {
    "schedules": {
        "count": 1, "next": None, "previous": None,
        "results": [
            {
                "id": "SCHED1", "name": "Data", "type": "calendar", "team_id": None, "time_zone": "Europe/Paris",
                "shifts": ["SHIFT1", "SHIFT2", "SHIFT3"], "on_call_now": ["USER1"], "ical_url_overrides": None,
            }
        ],
    },
    "on_call_shifts": {
        "count": 3, "next": None, "previous": None,
        "results": [
            {
                "id": "SHIFT1", "name": "Week days", "type": "rolling_users", "team_id": None, "time_zone": None,
                "level": 1, "start": "2026-10-05T09:00:00", "rotation_start": "2026-10-05T09:00:00",
                "duration": 28800, "frequency": "weekly", "interval": 1, "until": None, "week_start": "MO",
                "by_day": ["MO", "TU", "WE", "TH", "FR"], "by_month": None, "by_monthday": None,
                "rolling_users": [["USER1", "USER2"], ["USER3"]], "start_rotation_from_user_index": 1,
            },
            {
                "id": "SHIFT2", "name": "Nights", "type": "rolling_users", "team_id": None, "time_zone": None,
                "level": 1, "start": "2026-10-05T17:00:00", "rotation_start": "2026-10-05T17:00:00",
                "duration": 57600, "frequency": "daily", "interval": 1, "until": None,
                "by_day": ["MO", "WE", "FR"], "by_month": None, "by_monthday": None,
                "rolling_users": [["USER1"], ["USER2"]], "start_rotation_from_user_index": 0,
            },
            {
                "id": "SHIFT3", "name": "Week end", "type": "recurrent_event", "team_id": None,
                "time_zone": "Europe/Paris", "level": 1, "start": "2026-10-10T10:00:00", "duration": 36000,
                "frequency": "weekly", "interval": 1, "week_start": "MO", "by_day": ["SA", "SU"], "by_month": None,
                "by_monthday": None, "users": ["USER2", "USER3"],
            },
        ],
    },
    "escalation_chains": {"count": 1, "results": [{"id": "CHAIN1", "name": "default", "team_id": None}]},
    "escalation_policies": {
        "count": 4,
        "results": [
            {
                "id": "STEP1", "escalation_chain_id": "CHAIN1", "position": 0, "important": False,
                "type": "notify_on_call_from_schedule", "notify_on_call_from_schedule": "SCHED1",
            },
            {"id": "STEP2", "escalation_chain_id": "CHAIN1", "position": 1, "type": "wait", "duration": 900},
            {
                "id": "STEP3", "escalation_chain_id": "CHAIN1", "position": 2, "important": False,
                "type": "notify_persons", "persons_to_notify": ["USER3"],
            },
            {"id": "STEP4", "escalation_chain_id": "CHAIN1", "position": 3, "type": "wait", "duration": 300},
            {"id": "STEP5", "escalation_chain_id": "CHAIN1", "position": 4, "type": "repeat_escalation"},
        ],
    },
    "users": {
        "count": 3,
        "results": [
            {
                "id": "USER1", "email": "user1@example.com", "username": "user1", "role": "admin",
                "timezone": "Europe/Paris", "teams": ["TEAM1"],
            },
            {"id": "USER2", "email": "user2@example.com", "username": "user2", "role": "user", "timezone": "UTC",
             "teams": []},
            {"id": "USER3", "email": "user3@example.com", "username": "user3", "role": "user", "timezone": None,
             "teams": []},
        ],
    },
    "teams": {"results": [{"id": "TEAM1", "name": "Data team", "email": None, "avatar_url": "/avatar/x"}]},
}  # fmt: skip
