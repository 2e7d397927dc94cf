// Imports the package where there is no browser, renders its components, and prints what came of it.

import { createElement, StrictMode } from "react";
import { renderToString } from "react-dom/server";

import { CarillonClient, CarillonInbox as Element } from "@carillon/inbox";
import { WebPush } from "@carillon/inbox/client";
import "@carillon/inbox/inbox";
import "@carillon/inbox/preferences";
import { CarillonInbox, CarillonPreferences, useUnreadCount } from "@carillon/inbox/react";

function Shop() {
  return createElement(
    StrictMode,
    null,
    createElement("h1", null, useUnreadCount(), " of ", useUnreadCount(new CarillonClient({ url, getToken: () => "" }))),
    createElement(CarillonInbox, {
      url,
      token: "secret",
      getToken: () => "secret",
      className: "bell",
      style: { float: "right" },
      theme: "dark",
      noToasts: true,
      labels: { title: "News" },
      onOpen: () => undefined,
    }),
    createElement(CarillonPreferences, { id: "preferences", worker: "/sw.js", onPreferences: () => undefined }),
  );
}

const url = "https://notify.example.com";
if ("HTMLElement" in globalThis || typeof Element !== "function" || typeof WebPush !== "function") process.exit(1);
console.log(renderToString(createElement(Shop)));
