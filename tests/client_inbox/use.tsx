// How somebody's pages use the package; each line that must not compile is marked.

import { CarillonClient, CarillonError, type InboxNotification, type Labels, WebPush } from "@carillon/inbox";
import "@carillon/inbox/inbox";
import "@carillon/inbox/preferences";
import { CarillonClient as Client } from "@carillon/inbox/client";
import { type CarillonInboxElement, CarillonInbox, CarillonPreferences, useUnreadCount } from "@carillon/inbox/react";
import { useEffect, useRef } from "react";

const getToken = async ({ renew }: { renew: boolean }) => (await fetch(`/token?renew=${renew}`)).text();
const labels: Partial<Labels> = { title: "Neues", bell: (unread) => `${unread} neue` };

export async function plain(): Promise<InboxNotification | undefined> {
  const client: Client = new CarillonClient({ url: "https://notify.example.com", getToken });
  const stop: () => void = client.on("notification", ({ notification, late }) => console.log(notification.id, late));
  const webPush = new WebPush(client);
  if ((await webPush.state()) === "off") await webPush.enable();
  try {
    await client.markRead("1");
  } catch (error) {
    if (error instanceof CarillonError) console.log(error.status, error.code);
  }
  stop();
  // @ts-expect-error -- there is no such event
  client.on("notificaton", () => undefined);
  // @ts-expect-error -- nobody says who it is for
  new CarillonClient({ url: "https://notify.example.com" });
  return (await client.inbox({ limit: 1, state: "unread" })).notifications[0];
}

export function elements(): void {
  const inbox = document.querySelector("carillon-inbox");
  if (!inbox) return;
  inbox.getToken = getToken;
  inbox.addEventListener("carillon-open", (event) => event.detail.title.length > 0 && event.preventDefault());
  document.addEventListener("carillon-unread", ({ detail }) => console.log(detail.unread + 1));
  const preferences = document.createElement("carillon-preferences");
  preferences.addEventListener("carillon-preferences", ({ detail }) => console.log(detail.email));
  // @ts-expect-error -- a text is no function
  inbox.getToken = "token";
  // @ts-expect-error -- only the element counts
  inbox.unread = 3;
}

export function Shop({ user }: { user?: string }) {
  const inbox = useRef<CarillonInboxElement>(null);
  const unread: number = useUnreadCount();
  useEffect(() => console.log(inbox.current?.client?.state), []);
  return (
    <header>
      {unread}
      <CarillonInbox
        key={user}
        ref={inbox}
        id="inbox"
        className="bell"
        style={{ float: "right" }}
        url="https://notify.example.com"
        getToken={getToken}
        theme="dark"
        noToasts={unread > 3}
        labels={labels}
        onOpen={(event) => event.detail.data?.["page"] && event.preventDefault()}
        onUnread={({ detail }) => console.log(detail.unread)}
      />
      <CarillonPreferences token={user} worker="/carillon-sw.js" onWebPush={({ detail }) => console.log(detail.state)} />
      {/* @ts-expect-error -- no such theme */}
      <CarillonInbox theme="sepia" />
      {/* @ts-expect-error -- no such prop */}
      <CarillonInbox onOpened={() => undefined} />
    </header>
  );
}
