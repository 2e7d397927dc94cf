"""Payloads that show what a topic takes: the AsyncAPI document has them, and a test publishes each to a real router."""

from collections.abc import Mapping
from typing import Any

from shared.core.topics import Kind

# A level of a topic for each parameter.
LEVELS: Mapping[str, str] = {
    "publisher": "shop",
    "category": "orders",
    "tenant": "acme",
    "policy": "database",
    "silence": "db-upgrade",
    "inhibition": "whole-site",
    "source": "gateway-7",
    "user_id": "alice",
    "group_id": "operators",
    "alert_type": "system_failure",
    "alert_id": "019a9e5c-6f1b-7c21-8d4e-5a1f0b2c3d4e",
    "notification_id": "019a9e5c-6f1b-7c21-8d4e-5a1f0b2c3d4e",
    "platform": "android",
    "channel": "email",
}

# In an order in which each can be accepted: people before what is for them, an alert before its answers.
EXAMPLES: Mapping[Kind, tuple[dict[str, Any], ...]] = {
    Kind.DIRECTORY_PUBLISHER: (
        {"may": ["notifications/#"], "priority_at_most": "high", "rate": "100/1s", "share": 2.0},
    ),
    Kind.DIRECTORY_CATEGORY: (
        {
            "title": "Orders",
            "policy": "opt_out",
            "channels": {"email": True, "push": True},
            "priority_at_most": "high",
            "throttle": {"limit": 5, "per": "1h", "then": "fold", "key": "data.order"},
            "digest": {"window": "10m", "mode": "sliding", "at_most": "1h", "first": "now", "channels": ["email"]},
        },
    ),
    Kind.DIRECTORY_TENANT: (
        {
            "title": "Acme",
            "timezone": "Europe/Paris",
            "locale": "fr",
            "brand": {"name": "Acme", "logo_url": "https://acme.example/logo.png", "colour": "#0a7cff"},
            "categories": {"orders": {"channels": {"email": False}}},
        },
    ),
    Kind.DIRECTORY_POLICY: (
        {
            "levels": [
                {"notify": ["oncall"]},
                {"after": "5m", "notify": ["oncall:second", "group:operators"], "channels": ["push", "sms"]},
                {"after": "15m", "notify": ["admins"]},
            ],
            "repeat": 1,
            "acknowledged_for": "4h",
            "group": {"by": ["alert_type", "system"], "wait": "30s", "interval": "5m", "repeat": "4h"},
            "flapping": {"times": 3, "within": "10m", "hold": "30m"},
        },
    ),
    Kind.DIRECTORY_SILENCE: (
        {
            "matchers": ["system=db-1", "severity=~warning|info"],
            "ends_at": "2027-01-15T23:00:00+01:00",
            "comment": "We upgrade it.",
            "created_by": "alice",
        },
    ),
    Kind.DIRECTORY_INHIBITION: (
        {"source": ["alert_type=site_down"], "target": ["severity=warning"], "equal": ["region"]},
    ),
    Kind.DIRECTORY_LIVENESS: (
        {
            "every": "60s",
            "grace": "20s",
            "alert_type": "gateways",
            "severity": "warning",
        },
    ),
    Kind.LIVENESS_BIRTH: ({"session": 17},),
    Kind.LIVENESS_BEAT: ({},),
    Kind.LIVENESS_DEATH: ({"session": 17}, {"session": 17, "clean": True}),
    Kind.DIRECTORY_USER: (
        {
            "email": "alice@example.com",
            "phone": "+15005550006",
            "name": "Alice",
            "locale": "en",
            "timezone": "Europe/Paris",
            "groups": ["operators"],
            "roles": ["admin"],
            "preferences": {"sms": True},
            "devices": [{"platform": "android", "token": "c7Wd0fJ1Qk2"}],
        },
    ),
    Kind.DIRECTORY_ONCALL: (
        {
            "layers": [
                {
                    "users": ["alice"],
                    "rotation": "weekly",
                    "handoff": "09:00",
                    "weekday": "monday",
                    "start": "2026-01-05",
                }
            ],
            "escalation": [{"after_s": 0, "notify": ["oncall"]}, {"after_s": 300, "notify": ["admins"]}],
        },
    ),
    Kind.DIRECTORY_SUPPRESS: ({"address": "bounced@example.com", "reason": "bounce", "detail": "5.1.1"},),
    Kind.REALTIME_USER: (
        {"message": "Your parcel has left."},
        {
            "message": "Your parcel has left.",
            "title": "On its way",
            "type": "order",
            "priority": "high",
            "category": "orders",
            "data": {"order": 4711},
            "ttl_s": 3600,
            "events": True,
        },
        {"template": "welcome", "data": {"name": "Alice", "joined": "2026-11-02", "tasks": 2}},
    ),
    Kind.REALTIME_GROUP: ({"message": "The meeting begins at ten."},),
    Kind.REALTIME_BROADCAST: ({"message": "A new version is here.", "target_groups": ["operators"]},),
    Kind.ALERT_CRITICAL: (
        {
            "message": "The database does not answer.",
            "source": "monitoring",
            "severity": "high",
            "labels": {"region": "eu-1"},
            "affected_systems": ["orders"],
            "dedup_key": "orders-database",
        },
    ),
    Kind.ALERT_WARNING: ({"message": "The disk is almost full."},),
    Kind.ALERT_INFO: ({"message": "The backup is done."},),
    Kind.ALERT_ACKNOWLEDGE: ({"user_id": "alice", "note": "I am looking at it."},),
    Kind.ALERT_SNOOZE: ({"user_id": "alice", "for": "2h", "note": "Not before the backup."},),
    Kind.ALERT_REASSIGN: ({"user_id": "alice", "to": "user:bob"},),
    Kind.ALERT_RESOLVE: ({"note": "It answers again."},),
    Kind.SYSTEM_STATUS: ({"message": "Some mails are late.", "status": "degraded", "services": {"email": "slow"}},),
    Kind.SYSTEM_MAINTENANCE: (
        {
            "message": "We move to a new server.",
            "starts_at": "2027-01-15T22:00:00+01:00",
            "ends_at": "2027-01-15T23:00:00+01:00",
            "services": ["inbox"],
        },
    ),
    Kind.EMAIL_SEND: (
        {"to": "alice@example.com", "subject": "Welcome", "body": "Hello Alice", "html_body": "<p>Hello Alice</p>"},
        {
            "to": "alice@example.com",
            "template": "welcome",
            "data": {"name": "Alice", "joined": "2026-11-02", "tasks": 2},
        },
    ),
    Kind.EMAIL_BATCH: (
        {
            "priority": "low",
            "emails": [
                {"to": "alice@example.com", "subject": "News", "body": "Hello Alice"},
                {"to": "bob@example.com", "subject": "News", "body": "Hello Bob"},
            ],
        },
    ),
    Kind.SMS_SEND: ({"phone": "+15005550006", "message": "Your code is 4711.", "ttl_s": 300},),
    Kind.PUSH_MOBILE: ({"user_id": "alice", "message": "Your parcel is here.", "data": {"order": 4711}},),
    Kind.SESSION_CONNECT: ({"session_id": "gateway-1", "device_info": {"os": "linux"}},),
    Kind.SESSION_HEARTBEAT: ({"session_id": "gateway-1"},),
    Kind.SESSION_DISCONNECT: ({"session_id": "gateway-1"},),
    Kind.CANCEL: ({}, {"recall": True}),
}
