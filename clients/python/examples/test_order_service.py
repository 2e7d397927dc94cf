"""A program that publishes, and its unit test with the fake publisher: pytest test_order_service.py."""

from dataclasses import dataclass

import pytest

from carillon_publisher import RateLimited, Refused
from carillon_publisher.payloads import Realtime
from carillon_publisher.receipts import Receipt
from carillon_publisher.sends import Sends
from carillon_publisher.testing import FakePublisher


@dataclass
class Orders:
    """The program: it tells customers of their orders, and support of what it could not tell."""

    publisher: Sends[Receipt]

    def ship(self, number: int, customer: str) -> bool:
        """Tell a customer once that an order is on its way."""
        notification: Realtime = {
            "id": f"order-{number}-shipped",
            "message": f"Your order {number} is on its way.",
            "category": "orders",
        }
        try:
            self.publisher.send_user(customer, **notification)
        except RateLimited:
            return False
        return True

    def mail_invoice(self, number: int, address: str) -> None:
        """Mail an invoice."""
        self.publisher.send_email(address, subject=f"Invoice {number}", body="Thank you for your order.")


def test_a_customer_is_told_of_a_shipped_order() -> None:
    publisher = FakePublisher()
    assert Orders(publisher).ship(17, "ada")
    (sent,) = publisher.published
    assert sent.topic == "notifications/realtime/user/ada"
    assert sent.payload["message"] == "Your order 17 is on its way."


def test_a_customer_is_told_once() -> None:
    publisher = FakePublisher()
    orders = Orders(publisher)
    orders.ship(17, "ada")
    orders.ship(17, "ada")
    assert len(publisher.published) == 1


def test_a_wrong_address_is_refused_as_by_the_router() -> None:
    with pytest.raises(Refused) as refused:
        Orders(FakePublisher()).mail_invoice(17, "ada at example.com")
    (problem,) = refused.value.fields
    assert (problem.field, problem.problem) == ("to", "not a valid email address")


def test_a_misspelt_field_is_a_warning_that_names_the_right_one() -> None:
    publisher = FakePublisher()
    receipt = publisher.publish("notifications/realtime/user/ada", {"message": "Hello", "prioriy": "high"})
    (warning,) = receipt.warnings
    assert (warning.field, warning.meant) == ("prioriy", "priority")


def test_what_comes_too_fast_is_left_for_later() -> None:
    publisher = FakePublisher()
    publisher.refuse_next("rate_limited", retry_after_s=12)
    assert not Orders(publisher).ship(17, "ada")
    assert publisher.published == []
