// @ts-check
/**
 * French. Before a colon and other tall signs stands a narrow space that does not break, as French typography asks.
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
      title: "Notifications",
      bell: plural({
        "=0": "Notifications, aucune non lue",
        one: "Notifications, {n} non lue",
        many: "Notifications, {n} non lues",
        other: "Notifications, {n} non lues",
      }),
      toasts: "Nouvelles notifications",
      close: "Fermer",
      dismiss: "Ignorer",
      categoriesTitle: "Catégories",
      categories: {},
      allCategories: "Toutes",
      noCategory: "Autres",
      unreadCount: plural({ one: "{n} non lue", many: "{n} non lues", other: "{n} non lues" }),
      views: "Afficher",
      all: "Reçues",
      unread: "Non lues",
      archived: "Archivées",
      snoozed: "En attente",
      markAllRead: "Tout marquer lu",
      archive: "Archiver",
      markUnread: "Marquer comme non lue",
      snooze: "Mettre en attente",
      snoozeUntil: "Mettre en attente jusqu’à",
      snoozeChoices: {
        hour: "Dans 1 heure",
        evening: "Ce soir",
        tomorrow: "Demain matin",
        monday: "Lundi prochain",
      },
      comesBack: (when) => `Reviendra\u202f: ${when}`,
      bringBack: "Faire revenir maintenant",
      acknowledge: "Prendre en charge",
      acknowledged: "Prise en charge",
      acknowledgedBy: (who, when) => `Prise en charge par ${who}, ${when}`,
      acted: (label) => `Fait\u202f: ${label}`,
      newTab: "s’ouvre dans un nouvel onglet",
      source: "Source",
      systems: "Systèmes",
      alertStates: { open: "", acknowledged: "Prise en charge", resolved: "Résolue", ended: "Terminée" },
      older: "Afficher les plus anciennes",
      loading: "Chargement…",
      empty: "Rien pour l’instant.",
      emptyUnread: "Tout est lu.",
      emptyArchived: "Les archives sont vides.",
      emptySnoozed: "Rien en attente.",
      failed: "L’action n’a pas abouti. Veuillez réessayer.",
      loadFailed: "Impossible de charger les notifications.",
      retry: "Réessayer",
      moreToasts: plural({
        one: "{n} autre en attente",
        many: "{n} autres en attente",
        other: "{n} autres en attente",
      }),
      types: {
        info: "Information",
        success: "Réussite",
        warning: "Avertissement",
        error: "Erreur",
        alert: "Alerte",
      },
      priorities: { low: "Faible", normal: "", high: "Élevée", critical: "Critique" },
      states: {
        idle: "Non connecté",
        connecting: "Connexion…",
        open: "En direct",
        waiting: "Reconnexion…",
        offline: "Hors ligne",
        stopped: "Veuillez vous reconnecter",
      },
    },
    preferences: {
      title: "Comment me joindre",
      channels: {
        realtime: {
          name: "En direct",
          about: "Immédiatement, dans les fenêtres ouvertes. La boîte de réception contient tout dans tous les cas.",
        },
        push: { name: "Push", about: "Sur les téléphones et les navigateurs que vous avez autorisés." },
        email: { name: "E-mail", about: "Notifications importantes et critiques." },
        sms: { name: "SMS", about: "Notifications critiques." },
      },
      note: "Les alertes critiques arrivent par tous les canaux qui permettent de vous joindre.",
      categoriesTitle: "Ce dont je veux être informé",
      required: "Toujours activé",
      requiredAbout: "Ces notifications sont indispensables et ne peuvent pas être désactivées.",
      optInAbout: "Désactivé tant que vous ne l’activez pas.",
      unsubscribed: "Vous vous êtes désabonné de ces e-mails. Activez l’e-mail pour les recevoir de nouveau.",
      usual: "Réglage par défaut",
      reset: "Revenir au réglage par défaut",
      digest: "Fréquence",
      digests: {
        instant: "Immédiatement",
        hourly: "Toutes les heures",
        daily: "Tous les jours",
        weekly: "Toutes les semaines",
      },
      quietTitle: "Heures calmes",
      quietAbout:
        "Rien ne sonne pendant ce temps. La boîte de réception reçoit toujours tout, et les alertes " +
          "critiques arrivent quand même.",
      quietNone: "Aucune heure calme.",
      days: "Jours",
      from: "De",
      to: "À",
      nextDay: "le lendemain",
      addWindow: "Ajouter des heures calmes",
      removeWindow: "Supprimer",
      timezone: "Fuseau horaire",
      pauseTitle: "Pause",
      pauseAbout: "Tout retenir pendant un moment, sauf les alertes critiques.",
      pauseChoices: {
        hour: "Pendant 1 heure",
        evening: "Jusqu’à ce soir",
        tomorrow: "Jusqu’à demain matin",
        monday: "Jusqu’à lundi prochain",
      },
      pausedUntil: (when) => `En pause. Reprise\u202f: ${when}`,
      resume: "Reprendre maintenant",
      saved: "Enregistré",
      saveFailed: "L’enregistrement a échoué. Veuillez réessayer.",
      loadFailed: "Impossible de charger les réglages.",
      unknownUser:
        "Vous n’avez pas encore d’entrée dans l’annuaire\u202f; il n’y a donc rien à régler. Adressez-vous à " +
          "l’exploitant de ce service.",
      browserTitle: "Ce navigateur",
      browser: {
        unsupported: "Ce navigateur ne peut pas afficher de notifications lorsque la page est fermée.",
        unavailable: "Ce serveur n’envoie pas de notifications push aux navigateurs.",
        denied:
          "Les notifications de ce site sont bloquées. Les réglages de votre navigateur permettent de changer cela.",
        off: "Afficher les notifications ici lorsque la page est fermée.",
        on: "Les notifications arrivent dans ce navigateur lorsque la page est fermée.",
      },
      enable: "Activer",
      disable: "Désactiver",
      browserFailed: "L’action n’a pas abouti\u202f: le navigateur ou son service push a refusé.",
    },
  };
}
