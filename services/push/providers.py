"""Which providers the settings ask for."""

from services.push import credentials
from services.push.apns.provider import ApnsProvider
from services.push.fcm.pace import Pace
from services.push.fcm.provider import FcmProvider
from services.push.settings import PushSettings
from services.push.webpush import WebPushProvider
from shared.core.clock import Clock
from shared.delivery.provider import Provider


def build_providers(settings: PushSettings, clock: Clock) -> tuple[Provider, ...]:
    """Build every configured provider; needs a running loop.

    Raises:
        ConfigError: a key file that was good at the start is not any more.
    """
    providers: list[Provider] = []
    if settings.push_apns_key_file:
        providers.append(
            ApnsProvider(
                key=credentials.load_apns_key(settings.push_apns_key_file),
                key_id=settings.push_apns_key_id or "",
                team_id=settings.push_apns_team_id or "",
                topic=settings.push_apns_topic or "",
                urls=settings.apns_urls,
                tls=credentials.load_apns_tls(settings.push_apns_ca_file),
                clock=clock,
            )
        )
    if settings.push_fcm_credentials_file:
        account = credentials.load_service_account(settings.push_fcm_credentials_file)
        pace = Pace(settings.push_fcm_per_second)
        providers.append(FcmProvider(account, settings.push_fcm_url, settings.push_concurrency, pace, clock))
    if settings.push_webpush_vapid_key_file:
        subject = settings.push_webpush_subject or ""
        vapid = credentials.load_vapid(settings.push_webpush_vapid_key_file, subject)
        providers.append(WebPushProvider(vapid, subject, settings.webpush_hosts, settings.push_concurrency, clock))
    return tuple(providers)
