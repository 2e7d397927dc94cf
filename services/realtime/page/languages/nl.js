// @ts-check
/**
 * Dutch.
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
      title: "Meldingen",
      bell: plural({
        "=0": "Meldingen, geen ongelezen",
        one: "Meldingen, {n} ongelezen",
        other: "Meldingen, {n} ongelezen",
      }),
      toasts: "Nieuwe meldingen",
      close: "Sluiten",
      dismiss: "Verbergen",
      categoriesTitle: "Categorieën",
      categories: {},
      allCategories: "Alle",
      noCategory: "Overig",
      unreadCount: plural({ one: "{n} ongelezen", other: "{n} ongelezen" }),
      views: "Tonen",
      all: "Inbox",
      unread: "Ongelezen",
      archived: "Gearchiveerd",
      snoozed: "Uitgesteld",
      markAllRead: "Alles gelezen",
      archive: "Archiveren",
      markUnread: "Markeren als ongelezen",
      snooze: "Uitstellen",
      snoozeUntil: "Uitstellen tot",
      snoozeChoices: {
        hour: "Over 1 uur",
        evening: "Vanavond",
        tomorrow: "Morgenochtend",
        monday: "Volgende week maandag",
      },
      comesBack: (when) => `Komt terug: ${when}`,
      bringBack: "Nu terughalen",
      acknowledge: "Oppakken",
      acknowledged: "Opgepakt",
      acknowledgedBy: (who, when) => `Opgepakt door ${who}, ${when}`,
      acted: (label) => `Gedaan: ${label}`,
      newTab: "opent in een nieuw tabblad",
      source: "Bron",
      systems: "Systemen",
      alertStates: { open: "", acknowledged: "Opgepakt", resolved: "Opgelost", ended: "Voorbij" },
      older: "Oudere tonen",
      loading: "Laden…",
      empty: "Nog niets te zien.",
      emptyUnread: "Alles gelezen.",
      emptyArchived: "Het archief is leeg.",
      emptySnoozed: "Niets uitgesteld.",
      failed: "Dat is niet gelukt. Probeer het opnieuw.",
      loadFailed: "De meldingen konden niet worden geladen.",
      retry: "Opnieuw proberen",
      moreToasts: plural({ one: "nog {n} in de wacht", other: "nog {n} in de wacht" }),
      types: { info: "Informatie", success: "Gelukt", warning: "Waarschuwing", error: "Fout", alert: "Alarm" },
      priorities: { low: "Laag", normal: "", high: "Hoog", critical: "Kritiek" },
      states: {
        idle: "Niet verbonden",
        connecting: "Verbinden…",
        open: "Live",
        waiting: "Opnieuw verbinden…",
        offline: "Offline",
        stopped: "Log opnieuw in",
      },
    },
    preferences: {
      title: "Hoe ik bereikbaar ben",
      channels: {
        realtime: { name: "Live", about: "Meteen, in open vensters. In de inbox staat sowieso alles." },
        push: { name: "Push", about: "Op telefoons en browsers waarvoor je toestemming hebt gegeven." },
        email: { name: "E-mail", about: "Meldingen met hoge of kritieke prioriteit." },
        sms: { name: "Sms", about: "Kritieke meldingen." },
      },
      note: "Kritieke alarmen komen via elk kanaal dat je kan bereiken.",
      categoriesTitle: "Waarover ik iets wil horen",
      required: "Altijd aan",
      requiredAbout: "Deze heb je nodig, dus ze kunnen niet uit.",
      optInAbout: "Uit, tot je het aanzet.",
      unsubscribed: "Je hebt je voor deze e-mails afgemeld. Zet e-mail aan om ze weer te krijgen.",
      usual: "Standaardinstelling",
      reset: "Terug naar de standaardinstelling",
      digest: "Hoe vaak",
      digests: { instant: "Meteen", hourly: "Elk uur", daily: "Elke dag", weekly: "Elke week" },
      quietTitle: "Stille uren",
      quietAbout:
        "In deze tijd gaat er niets af. De inbox krijgt nog steeds alles, en kritieke alarmen komen gewoon door.",
      quietNone: "Geen stille uren.",
      days: "Dagen",
      from: "Van",
      to: "Tot",
      nextDay: "de volgende dag",
      addWindow: "Stille uren toevoegen",
      removeWindow: "Verwijderen",
      timezone: "Tijdzone",
      pauseTitle: "Pauze",
      pauseAbout: "Alles een tijdje tegenhouden, behalve kritieke alarmen.",
      pauseChoices: {
        hour: "1 uur lang",
        evening: "Tot vanavond",
        tomorrow: "Tot morgenochtend",
        monday: "Tot volgende week maandag",
      },
      pausedUntil: (when) => `Gepauzeerd. Gaat verder: ${when}`,
      resume: "Nu hervatten",
      saved: "Opgeslagen",
      saveFailed: "Opslaan is niet gelukt. Probeer het opnieuw.",
      loadFailed: "De instellingen konden niet worden geladen.",
      unknownUser:
        "Je staat nog niet in het adresboek, dus er valt niets te kiezen. Vraag het aan de beheerder van deze dienst.",
      browserTitle: "Deze browser",
      browser: {
        unsupported: "Deze browser kan geen meldingen tonen als de pagina gesloten is.",
        unavailable: "Deze server stuurt geen pushmeldingen naar browsers.",
        denied: "Meldingen van deze site zijn geblokkeerd. Dat kun je in de instellingen van je browser wijzigen.",
        off: "Meldingen hier ook tonen als de pagina gesloten is.",
        on: "Meldingen komen in deze browser aan, ook als de pagina gesloten is.",
      },
      enable: "Inschakelen",
      disable: "Uitschakelen",
      browserFailed: "Dat is niet gelukt: de browser of zijn pushdienst weigerde.",
    },
  };
}
