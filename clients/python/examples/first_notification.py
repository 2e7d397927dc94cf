"""A first notification: python first_notification.py [URL]."""

import sys

from carillon_publisher import NotConnected, Publisher, Refused

url = sys.argv[1] if len(sys.argv) > 1 else "mqtt://localhost"

try:
    with Publisher(url) as publisher:
        receipt = publisher.send_user("user123", title="Your order", message="It is on its way.", events=True)
        print(receipt.status, receipt.notification_id)
        for warning in receipt.warnings:
            print("warning:", warning)
        for event in publisher.events(receipt.notification_id or "", within_s=2):
            print(event.state, event.channel)
except NotConnected as error:
    sys.exit(f"no broker at {url}: {error}")
except Refused as error:
    sys.exit(str(error))
