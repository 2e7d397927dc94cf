// @ts-check
/**
 * Italian.
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
      title: "Notifiche",
      bell: plural({
        "=0": "Notifiche, nessuna da leggere",
        one: "Notifiche, {n} da leggere",
        many: "Notifiche, {n} da leggere",
        other: "Notifiche, {n} da leggere",
      }),
      toasts: "Nuove notifiche",
      close: "Chiudi",
      dismiss: "Ignora",
      categoriesTitle: "Categorie",
      categories: {},
      allCategories: "Tutte",
      noCategory: "Altro",
      unreadCount: plural({ one: "{n} da leggere", many: "{n} da leggere", other: "{n} da leggere" }),
      views: "Mostra",
      all: "Ricevute",
      unread: "Da leggere",
      archived: "Archiviate",
      snoozed: "Posticipate",
      markAllRead: "Segna tutto come letto",
      archive: "Archivia",
      markUnread: "Segna come da leggere",
      snooze: "Posticipa",
      snoozeUntil: "Posticipa a",
      snoozeChoices: {
        hour: "Tra 1 ora",
        evening: "Questa sera",
        tomorrow: "Domani mattina",
        monday: "Lunedì prossimo",
      },
      comesBack: (when) => `Torna: ${when}`,
      bringBack: "Riporta subito",
      acknowledge: "Prendi in carico",
      acknowledged: "Presa in carico",
      acknowledgedBy: (who, when) => `Presa in carico da ${who}, ${when}`,
      acted: (label) => `Fatto: ${label}`,
      newTab: "si apre in una nuova scheda",
      source: "Origine",
      systems: "Sistemi",
      alertStates: { open: "", acknowledged: "Presa in carico", resolved: "Risolta", ended: "Conclusa" },
      older: "Mostra precedenti",
      loading: "Caricamento…",
      empty: "Ancora niente.",
      emptyUnread: "Hai letto tutto.",
      emptyArchived: "L’archivio è vuoto.",
      emptySnoozed: "Nessuna notifica posticipata.",
      failed: "Qualcosa è andato storto. Riprova.",
      loadFailed: "Impossibile caricare le notifiche.",
      retry: "Riprova",
      moreToasts: plural({ one: "{n} altra in attesa", many: "{n} altre in attesa", other: "{n} altre in attesa" }),
      types: {
        info: "Informazione",
        success: "Operazione riuscita",
        warning: "Avviso",
        error: "Errore",
        alert: "Allarme",
      },
      priorities: { low: "Bassa", normal: "", high: "Alta", critical: "Critica" },
      states: {
        idle: "Non connesso",
        connecting: "Connessione…",
        open: "Connesso",
        waiting: "Riconnessione…",
        offline: "Offline",
        stopped: "Accedi di nuovo",
      },
    },
    preferences: {
      title: "Come raggiungermi",
      channels: {
        realtime: {
          name: "In tempo reale",
          about: "Subito, nelle finestre aperte. Nella posta in arrivo resta comunque tutto.",
        },
        push: { name: "Push", about: "Sui telefoni e nei browser che hai autorizzato." },
        email: { name: "E-mail", about: "Notifiche con priorità alta e critica." },
        sms: { name: "SMS", about: "Notifiche critiche." },
      },
      note: "Gli allarmi critici arrivano su ogni canale che può raggiungerti.",
      categoriesTitle: "Di che cosa voglio essere informato",
      required: "Sempre attivo",
      requiredAbout: "Sono necessarie, quindi non si possono disattivare.",
      optInAbout: "Disattivato finché non lo attivi.",
      unsubscribed: "Hai annullato l’iscrizione a queste e-mail. Attiva l’e-mail per riceverle di nuovo.",
      usual: "Impostazione predefinita",
      reset: "Torna all’impostazione predefinita",
      digest: "Frequenza",
      digests: { instant: "Subito", hourly: "Ogni ora", daily: "Ogni giorno", weekly: "Ogni settimana" },
      quietTitle: "Ore di silenzio",
      quietAbout:
        "In queste ore non suona nulla. La posta in arrivo continua a ricevere tutto e gli allarmi critici " +
          "arrivano comunque.",
      quietNone: "Nessuna ora di silenzio.",
      days: "Giorni",
      from: "Dalle",
      to: "Alle",
      nextDay: "del giorno dopo",
      addWindow: "Aggiungi ore di silenzio",
      removeWindow: "Rimuovi",
      timezone: "Fuso orario",
      pauseTitle: "Pausa",
      pauseAbout: "Trattieni tutto per un po’, tranne gli allarmi critici.",
      pauseChoices: {
        hour: "Per 1 ora",
        evening: "Fino a questa sera",
        tomorrow: "Fino a domani mattina",
        monday: "Fino a lunedì prossimo",
      },
      pausedUntil: (when) => `In pausa. Riprende: ${when}`,
      resume: "Riprendi ora",
      saved: "Salvato",
      saveFailed: "Impossibile salvare. Riprova.",
      loadFailed: "Impossibile caricare le impostazioni.",
      unknownUser:
        "Non sei ancora presente nella rubrica, quindi non c’è nulla da scegliere. Rivolgiti a chi gestisce " +
          "questo servizio.",
      browserTitle: "Questo browser",
      browser: {
        unsupported: "Questo browser non può mostrare notifiche quando la pagina è chiusa.",
        unavailable: "Questo server non invia notifiche push ai browser.",
        denied: "Le notifiche di questo sito sono bloccate. Puoi cambiarlo nelle impostazioni del browser.",
        off: "Mostra qui le notifiche anche quando la pagina è chiusa.",
        on: "Le notifiche arrivano in questo browser anche quando la pagina è chiusa.",
      },
      enable: "Attiva",
      disable: "Disattiva",
      browserFailed: "Qualcosa è andato storto: il browser o il suo servizio push ha rifiutato.",
    },
  };
}
