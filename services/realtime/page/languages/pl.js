// @ts-check
/**
 * Polish.
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
      title: "Powiadomienia",
      bell: plural({
        "=0": "Powiadomienia, brak nieprzeczytanych",
        one: "Powiadomienia, {n} nieprzeczytane",
        few: "Powiadomienia, {n} nieprzeczytane",
        many: "Powiadomienia, {n} nieprzeczytanych",
        other: "Powiadomienia, {n} nieprzeczytanego",
      }),
      toasts: "Nowe powiadomienia",
      close: "Zamknij",
      dismiss: "Ukryj",
      categoriesTitle: "Kategorie",
      categories: {},
      allCategories: "Wszystkie",
      noCategory: "Inne",
      unreadCount: plural({
        one: "{n} nieprzeczytane",
        few: "{n} nieprzeczytane",
        many: "{n} nieprzeczytanych",
        other: "{n} nieprzeczytanego",
      }),
      views: "Pokaż",
      all: "Odebrane",
      unread: "Nieprzeczytane",
      archived: "Archiwum",
      snoozed: "Odłożone",
      markAllRead: "Oznacz jako przeczytane",
      archive: "Archiwizuj",
      markUnread: "Oznacz jako nieprzeczytane",
      snooze: "Odłóż",
      snoozeUntil: "Odłóż do",
      snoozeChoices: {
        hour: "Za godzinę",
        evening: "Dziś wieczorem",
        tomorrow: "Jutro rano",
        monday: "W przyszły poniedziałek",
      },
      comesBack: (when) => `Wróci: ${when}`,
      bringBack: "Przywróć teraz",
      acknowledge: "Przyjmij",
      acknowledged: "Przyjęty",
      acknowledgedBy: (who, when) => `Przyjęty przez ${who}, ${when}`,
      acted: (label) => `Gotowe: ${label}`,
      newTab: "otwiera się w nowej karcie",
      source: "Źródło",
      systems: "Systemy",
      alertStates: { open: "", acknowledged: "Przyjęty", resolved: "Rozwiązany", ended: "Zakończony" },
      older: "Pokaż starsze",
      loading: "Wczytywanie…",
      empty: "Jeszcze nic tu nie ma.",
      emptyUnread: "Wszystko przeczytane.",
      emptyArchived: "Archiwum jest puste.",
      emptySnoozed: "Nic nie odłożono.",
      failed: "Nie udało się. Spróbuj ponownie.",
      loadFailed: "Nie udało się wczytać powiadomień.",
      retry: "Spróbuj ponownie",
      moreToasts: plural({
        one: "jeszcze {n} czeka",
        few: "jeszcze {n} czekają",
        many: "jeszcze {n} czeka",
        other: "jeszcze {n} czeka",
      }),
      types: { info: "Informacja", success: "Sukces", warning: "Ostrzeżenie", error: "Błąd", alert: "Alarm" },
      priorities: { low: "Niski", normal: "", high: "Wysoki", critical: "Krytyczny" },
      states: {
        idle: "Brak połączenia",
        connecting: "Łączenie…",
        open: "Na żywo",
        waiting: "Ponowne łączenie…",
        offline: "Offline",
        stopped: "Zaloguj się ponownie",
      },
    },
    preferences: {
      title: "Jak się ze mną kontaktować",
      channels: {
        realtime: {
          name: "Na żywo",
          about: "Od razu, w otwartych oknach. W skrzynce i tak jest wszystko.",
        },
        push: { name: "Push", about: "Na telefonach i w przeglądarkach, którym na to pozwolono." },
        email: { name: "E-mail", about: "Powiadomienia ważne i krytyczne." },
        sms: { name: "SMS", about: "Powiadomienia krytyczne." },
      },
      note: "Alarmy krytyczne przychodzą każdym kanałem, którym można do Ciebie dotrzeć.",
      categoriesTitle: "O czym chcę wiedzieć",
      required: "Zawsze włączone",
      requiredAbout: "Są niezbędne, dlatego nie można ich wyłączyć.",
      optInAbout: "Wyłączone, dopóki ich nie włączysz.",
      unsubscribed: "Wypisano Cię z tych wiadomości. Włącz e-mail, aby znów je otrzymywać.",
      usual: "Ustawienie domyślne",
      reset: "Przywróć ustawienie domyślne",
      digest: "Jak często",
      digests: { instant: "Od razu", hourly: "Co godzinę", daily: "Codziennie", weekly: "Co tydzień" },
      quietTitle: "Godziny ciszy",
      quietAbout:
        "W tym czasie nic nie dzwoni. Do skrzynki nadal trafia wszystko, a alarmy krytyczne przychodzą mimo to.",
      quietNone: "Brak godzin ciszy.",
      days: "Dni",
      from: "Od",
      to: "Do",
      nextDay: "następnego dnia",
      addWindow: "Dodaj godziny ciszy",
      removeWindow: "Usuń",
      timezone: "Strefa czasowa",
      pauseTitle: "Przerwa",
      pauseAbout: "Wstrzymaj na jakiś czas wszystko oprócz alarmów krytycznych.",
      pauseChoices: {
        hour: "Na godzinę",
        evening: "Do dzisiejszego wieczora",
        tomorrow: "Do jutra rano",
        monday: "Do przyszłego poniedziałku",
      },
      pausedUntil: (when) => `Wstrzymane. Wznowienie: ${when}`,
      resume: "Wznów teraz",
      saved: "Zapisano",
      saveFailed: "Nie udało się zapisać. Spróbuj ponownie.",
      loadFailed: "Nie udało się wczytać ustawień.",
      unknownUser:
        "Nie ma Cię jeszcze w katalogu, więc nie ma czego wybierać. Zapytaj osobę, która prowadzi tę usługę.",
      browserTitle: "Ta przeglądarka",
      browser: {
        unsupported: "Ta przeglądarka nie pokazuje powiadomień, gdy strona jest zamknięta.",
        unavailable: "Ten serwer nie wysyła powiadomień push do przeglądarek.",
        denied: "Powiadomienia tej strony są zablokowane. Można to zmienić w ustawieniach przeglądarki.",
        off: "Pokazuj tu powiadomienia, gdy strona jest zamknięta.",
        on: "Powiadomienia przychodzą do tej przeglądarki, także gdy strona jest zamknięta.",
      },
      enable: "Włącz",
      disable: "Wyłącz",
      browserFailed: "Nie udało się: przeglądarka lub jej usługa push odmówiła.",
    },
  };
}
