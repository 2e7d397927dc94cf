// @ts-check
/**
 * German.
 *
 * @module
 */

/** @import { AllLabels, Plural } from "../labels.js" */

/**
 * @param {Plural} plural
 * @returns {AllLabels}
 */
export function labels(plural) {
  return {
    inbox: {
      title: "Benachrichtigungen",
      bell: plural({
        "=0": "Benachrichtigungen, keine ungelesen",
        one: "Benachrichtigungen, {n} ungelesen",
        other: "Benachrichtigungen, {n} ungelesen",
      }),
      toasts: "Neue Benachrichtigungen",
      close: "Schließen",
      dismiss: "Ausblenden",
      categoriesTitle: "Kategorien",
      categories: {},
      allCategories: "Alle",
      noCategory: "Sonstiges",
      unreadCount: plural({ one: "{n} ungelesen", other: "{n} ungelesen" }),
      views: "Anzeigen",
      all: "Eingang",
      unread: "Ungelesen",
      archived: "Archiviert",
      snoozed: "Zurückgestellt",
      markAllRead: "Alle gelesen",
      archive: "Archivieren",
      markUnread: "Als ungelesen markieren",
      snooze: "Zurückstellen",
      snoozeUntil: "Zurückstellen bis",
      snoozeChoices: {
        hour: "In 1 Stunde",
        evening: "Heute Abend",
        tomorrow: "Morgen früh",
        monday: "Nächsten Montag",
      },
      comesBack: (when) => `Kommt wieder: ${when}`,
      bringBack: "Jetzt zurückholen",
      acknowledge: "Übernehmen",
      acknowledged: "Übernommen",
      acknowledgedBy: (who, when) => `Übernommen von ${who}, ${when}`,
      acted: (label) => `Erledigt: ${label}`,
      newTab: "öffnet in neuem Tab",
      source: "Quelle",
      systems: "Systeme",
      alertStates: { open: "", acknowledged: "Übernommen", resolved: "Behoben", ended: "Vorbei" },
      older: "Ältere anzeigen",
      loading: "Wird geladen …",
      empty: "Noch nichts da.",
      emptyUnread: "Alles gelesen.",
      emptyArchived: "Das Archiv ist leer.",
      emptySnoozed: "Nichts zurückgestellt.",
      failed: "Das hat nicht geklappt. Bitte noch einmal versuchen.",
      loadFailed: "Die Benachrichtigungen konnten nicht geladen werden.",
      retry: "Noch einmal versuchen",
      moreToasts: plural({ one: "{n} weitere wartet", other: "{n} weitere warten" }),
      types: { info: "Information", success: "Erfolg", warning: "Warnung", error: "Fehler", alert: "Alarm" },
      priorities: { low: "Niedrig", normal: "", high: "Hoch", critical: "Kritisch" },
      states: {
        idle: "Nicht verbunden",
        connecting: "Verbinden …",
        open: "Live",
        waiting: "Neu verbinden …",
        offline: "Offline",
        stopped: "Bitte neu anmelden",
      },
    },
    preferences: {
      title: "So erreicht man mich",
      channels: {
        realtime: { name: "Live", about: "Sofort, in offenen Fenstern. Im Posteingang steht in jedem Fall alles." },
        push: { name: "Push", about: "Auf Telefonen und in Browsern, denen Sie es erlaubt haben." },
        email: { name: "E-Mail", about: "Wichtige und kritische Benachrichtigungen." },
        sms: { name: "SMS", about: "Kritische Benachrichtigungen." },
      },
      note: "Kritische Alarme kommen auf jedem Weg, der Sie erreichen kann.",
      categoriesTitle: "Worüber ich etwas hören möchte",
      required: "Immer an",
      requiredAbout: "Diese brauchen Sie, deshalb lassen sie sich nicht abschalten.",
      optInAbout: "Aus, bis Sie es einschalten.",
      unsubscribed: "Sie haben diese E-Mails abbestellt. Schalten Sie E-Mail ein, um sie wieder zu bekommen.",
      usual: "Voreinstellung",
      reset: "Zurück zur Voreinstellung",
      digest: "Wie oft",
      digests: { instant: "Sofort", hourly: "Stündlich", daily: "Täglich", weekly: "Wöchentlich" },
      quietTitle: "Ruhezeiten",
      quietAbout:
        "In dieser Zeit klingelt nichts. Im Posteingang kommt weiter alles an, und kritische Alarme kommen trotzdem.",
      quietNone: "Keine Ruhezeiten.",
      days: "Tage",
      from: "Von",
      to: "Bis",
      nextDay: "am nächsten Tag",
      addWindow: "Ruhezeit hinzufügen",
      removeWindow: "Entfernen",
      timezone: "Zeitzone",
      pauseTitle: "Pause",
      pauseAbout: "Eine Weile alles zurückhalten, außer kritischen Alarmen.",
      pauseChoices: {
        hour: "Für 1 Stunde",
        evening: "Bis heute Abend",
        tomorrow: "Bis morgen früh",
        monday: "Bis nächsten Montag",
      },
      pausedUntil: (when) => `Pausiert. Es geht weiter: ${when}`,
      resume: "Jetzt fortsetzen",
      saved: "Gespeichert",
      saveFailed: "Das konnte nicht gespeichert werden. Bitte noch einmal versuchen.",
      loadFailed: "Die Einstellungen konnten nicht geladen werden.",
      unknownUser:
        "Für Sie gibt es noch keinen Eintrag im Verzeichnis, also auch nichts einzustellen. Fragen Sie, wer " +
          "diesen Dienst betreibt.",
      browserTitle: "Dieser Browser",
      browser: {
        unsupported: "Dieser Browser kann keine Benachrichtigungen zeigen, solange die Seite geschlossen ist.",
        unavailable: "Dieser Server sendet keine Push-Nachrichten an Browser.",
        denied:
          "Benachrichtigungen dieser Seite sind blockiert. Das lässt sich in den Einstellungen des Browsers ändern.",
        off: "Benachrichtigungen auch hier zeigen, wenn die Seite geschlossen ist.",
        on: "Benachrichtigungen kommen in diesen Browser, auch wenn die Seite geschlossen ist.",
      },
      enable: "Einschalten",
      disable: "Ausschalten",
      browserFailed: "Das hat nicht geklappt: Der Browser oder sein Push-Dienst hat abgelehnt.",
    },
  };
}
