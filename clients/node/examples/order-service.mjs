// A service that tells its customers what became of their orders. It takes the publisher from outside, so that its test
// gives it a fake one.

import { Refused } from "@carillon/publisher";

export class OrderService {
  #publisher;

  /** @param {import("@carillon/publisher").NotificationPublisher} publisher */
  constructor(publisher) {
    this.#publisher = publisher;
  }

  /** Tell the customer. Calling it twice for one order is one notification: the key says so. */
  async shipped({ id, customer, parcel }) {
    return this.#publisher.sendUser(
      customer,
      { title: "Your order is on its way", message: `Order ${id}, parcel ${parcel}`, data: { order: id } },
      { key: `shipped-${id}` },
    );
  }

  /** Mail the invoice; false where the address is not one, which is for a person to look at. */
  async invoiced({ id, email }) {
    try {
      await this.#publisher.sendEmail({ to: email, subject: `Invoice ${id}`, body: "Thank you for your order." });
      return true;
    } catch (error) {
      if (error instanceof Refused && error.fields.some(({ field }) => field === "to")) return false;
      throw error;
    }
  }
}
