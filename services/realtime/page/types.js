// @ts-check
/**
 * The shapes that cross the wire, as JSDoc types. Nothing here exists at run time.
 *
 * Unknown fields and frame types are allowed everywhere: a newer server may say more than this client knows.
 *
 * @module
 */

/** @typedef {"low" | "normal" | "high" | "critical"} Priority */

/**
 * What makes a notification an alert.
 *
 * @typedef {object} Alert
 * @property {string} id Goes into `acknowledge()`; not the notification's id.
 * @property {boolean} requires_acknowledgment
 * @property {AlertState} [state] Where it stood when the entry was read; "open" when left out.
 * @property {string} [source]
 * @property {string} [severity]
 * @property {string[]} [affected_systems]
 * @property {string} [acknowledged_by] A user id; also of one that was resolved after that.
 * @property {number} [acknowledged_at] Epoch seconds.
 */

/** @typedef {"open" | "acknowledged" | "resolved" | "ended"} AlertState "ended": too long ago to be known. */

/**
 * What a person can do with a notification; at most three of them.
 *
 * @typedef {object} Action
 * @property {string} id
 * @property {string} label
 * @property {string} [url] Where it leads. Without one, pressing it is told to the publisher alone.
 * @property {string | boolean} [topic]
 * @property {string} [style] "primary" for the one that most people will want.
 */

/**
 * One entry of a user's inbox.
 *
 * @typedef {object} InboxNotification
 * @property {string} id
 * @property {string} title
 * @property {string} message
 * @property {string} type For example "info", "success", "warning" or "error"; publishers may use words of their own.
 * @property {Priority} priority
 * @property {string | null} [category]
 * @property {Record<string, unknown> | null} [data]
 * @property {number} timestamp Epoch seconds.
 * @property {boolean} read
 * @property {string[]} [channels]
 * @property {Alert | null} [alert]
 * @property {boolean} [silent] Nothing is to draw attention to it.
 * @property {string} [tenant]
 * @property {Action[]} [actions]
 * @property {string} [acted] The id of the action that this person pressed.
 * @property {number} [snoozed_until] Epoch seconds; in the past for an entry that has come back.
 */

/** @typedef {{name: string | null, unread: number}} CategoryCount The name is null for entries without a category. */

/**
 * @typedef {object} InboxPage
 * @property {InboxNotification[]} notifications Newest first.
 * @property {InboxNotification[]} [unanswered] Alerts that wait for an answer, however old, newest first.
 * @property {number} unread
 * @property {string} cursor
 * @property {CategoryCount[]} [categories] Those of the whole inbox, whatever was asked for.
 */

/** @typedef {"unread" | "read" | "archived" | "snoozed"} InboxState */

/**
 * Which entries of the inbox to read.
 *
 * @typedef {object} InboxQuery
 * @property {number} [limit]
 * @property {string} [before] The id of the oldest notification read so far.
 * @property {InboxState} [state] All but the archived and the snoozed ones when left out.
 * @property {string | null | (string | null)[]} [category] Of these categories alone; null is for none.
 */

/**
 * When a snoozed entry comes back: at a time (epoch seconds, or RFC 3339), or after a duration such as "2h".
 *
 * @typedef {{until: number | string} | {for: string}} Snooze
 */

/** @typedef {"realtime" | "email" | "sms" | "push"} ChannelName */

/**
 * How often a category's digest comes; `instant` is no digest.
 *
 * @typedef {"instant" | "hourly" | "daily" | "weekly"} Rhythm
 */

/** @typedef {"monday" | "tuesday" | "wednesday" | "thursday" | "friday" | "saturday" | "sunday"} Weekday */

/**
 * @typedef {object} QuietWindow
 * @property {Weekday[]} [days] On which it begins; every day when left out.
 * @property {string} from "22:00".
 * @property {string} to "07:00"; not after `from`: on the next day.
 */

/**
 * @typedef {object} QuietHours
 * @property {string | null} [timezone] An IANA time zone; the person's own when left out.
 * @property {QuietWindow[]} [windows] None at all is never quiet.
 */

/**
 * What a person chose for a category; null is not chosen.
 *
 * @typedef {Partial<Record<ChannelName, boolean | null>> & {digest?: Rhythm | null}} CategoryChoice
 */

/**
 * A category that a person can choose about.
 *
 * @typedef {object} OfferedCategory
 * @property {string} name
 * @property {string} title
 * @property {"opt_out" | "opt_in" | "required"} policy
 * @property {Record<ChannelName, {on: boolean, fixed: boolean, rule: string}>} channels What holds, and who decided it.
 * @property {{choices: Rhythm[], chosen: Rhythm | null}} [digest]
 * @property {boolean} unsubscribed By the link in a mail.
 */

/**
 * What a person hears of: for the channels what holds, for categories what the person chose.
 *
 * @typedef {object} KnownPreferences
 * @property {Record<ChannelName, string>} rules Who decided about each channel.
 * @property {Record<string, CategoryChoice>} categories
 * @property {QuietHours | null} quiet_hours
 * @property {number | null} snooze_until Epoch seconds.
 * @property {string} timezone
 * @property {OfferedCategory[]} offered
 */
/** @typedef {Record<ChannelName, boolean> & KnownPreferences} Preferences */

/**
 * What a person chooses. A channel that is left out is the directory's again; anything else that is left out stays.
 *
 * @typedef {object} ChosenAttention
 * @property {Record<string, CategoryChoice>} [categories]
 * @property {QuietHours | null} [quiet_hours]
 * @property {number | string | null} [snooze_until] Epoch seconds, or RFC 3339.
 */
/** @typedef {Partial<Record<ChannelName, boolean | null>> & ChosenAttention} OwnPreferences */

/** @typedef {{endpoint: string, keys: {p256dh: string, auth: string}}} PushSubscriptionKeys */

/**
 * Where pushes go: an app's token, a topic of ntfy, or a browser's subscription.
 *
 * @typedef {{platform: "ios" | "android" | "ntfy", token: string} | {platform: "web", subscription: PushSubscriptionKeys}} Device
 */

/** @typedef {{type: "hello", session_id: string, cursor?: string, unread: number}} HelloFrame */
/** @typedef {{type: "notification", cursor?: string, notification: InboxNotification}} NotificationFrame */
/** @typedef {{type: "unread", unread: number}} UnreadFrame */
/** @typedef {{type: "gap"}} GapFrame */
/** @typedef {{type: "recalled", id: string}} RecalledFrame The notification was taken back: it is in no list any more. */

/**
 * The state of the publisher's system, as its operators describe it.
 *
 * @typedef {object} StatusFrame
 * @property {"status"} type
 * @property {string} message
 * @property {string | null} [status] For example "operational", "degraded" or "outage".
 * @property {string[] | Record<string, unknown> | null} [services]
 */

/** @typedef {{type: "pong"}} PongFrame */
/** @typedef {{type: "error", code: string, message: string}} ErrorFrame A client frame that could not be done. */

/** @typedef {HelloFrame | NotificationFrame | UnreadFrame | GapFrame | RecalledFrame | StatusFrame} AnnouncingFrame */
/** @typedef {AnnouncingFrame | PongFrame | ErrorFrame} ServerFrame */

/** @typedef {{type: "read", id: string} | {type: "acknowledge", alert_id: string} | {type: "act", id: string, action: string}} EntryFrame */
/** @typedef {EntryFrame | ({type: "snooze", id: string} & Snooze) | {type: "focus", focused: boolean} | {type: "ping"}} ClientFrame */

/** @typedef {"websocket" | "sse"} TransportName */

/**
 * - `idle`: not started, or closed by the page.
 * - `connecting`: an attempt is under way.
 * - `open`: the server has said hello.
 * - `waiting`: the next attempt comes by itself.
 * - `offline`: the browser has no network; the next attempt comes with it.
 * - `stopped`: the server wants another token; `connect()` tries again.
 *
 * @typedef {"idle" | "connecting" | "open" | "waiting" | "offline" | "stopped"} ConnectionState
 */

/**
 * @typedef {object} StateChange
 * @property {ConnectionState} state
 * @property {TransportName | null} transport The one in use or last tried.
 * @property {number | null} wait_ms Until the next attempt, in state `waiting`.
 * @property {number | null} code The close code (RFC 6455) or HTTP status that led here, where one is known.
 */

/**
 * The events of `CarillonClient` and what their `detail` holds.
 *
 * @typedef {object} ClientEvents
 * @property {StateChange} state
 * @property {{session_id: string}} hello
 * @property {{notification: InboxNotification, late: boolean}} notification Once for each id, in the server's order, and
 *   once more when it comes back from being snoozed; `late` for one that was read from the inbox after a gap.
 * @property {{id: string}} recalled A notification was taken back by its publisher.
 * @property {{unread: number}} unread
 * @property {StatusFrame} status
 * @property {{code: string}} error A frame that was sent could not be done.
 * @property {Record<string, never>} gap Some history is gone: what the inbox still holds of it follows as `notification`
 *   events, and a list that was drawn earlier is to be drawn again.
 * @property {{code: number}} unauthenticated The token was refused twice; the client has stopped.
 */

export {};
