// @ts-check
/**
 * Spanish.
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
      title: "Notificaciones",
      bell: plural({
        "=0": "Notificaciones, ninguna sin leer",
        one: "Notificaciones, {n} sin leer",
        many: "Notificaciones, {n} sin leer",
        other: "Notificaciones, {n} sin leer",
      }),
      toasts: "Notificaciones nuevas",
      close: "Cerrar",
      dismiss: "Descartar",
      categoriesTitle: "Categorías",
      categories: {},
      allCategories: "Todas",
      noCategory: "Otras",
      unreadCount: plural({ one: "{n} sin leer", many: "{n} sin leer", other: "{n} sin leer" }),
      views: "Mostrar",
      all: "Recibidas",
      unread: "Sin leer",
      archived: "Archivadas",
      snoozed: "Pospuestas",
      markAllRead: "Marcar todo como leído",
      archive: "Archivar",
      markUnread: "Marcar como no leída",
      snooze: "Posponer",
      snoozeUntil: "Posponer hasta",
      snoozeChoices: {
        hour: "Dentro de 1 hora",
        evening: "Esta tarde",
        tomorrow: "Mañana por la mañana",
        monday: "El próximo lunes",
      },
      comesBack: (when) => `Vuelve: ${when}`,
      bringBack: "Recuperar ahora",
      acknowledge: "Atender",
      acknowledged: "Atendida",
      acknowledgedBy: (who, when) => `Atendida por ${who}, ${when}`,
      acted: (label) => `Hecho: ${label}`,
      newTab: "se abre en una pestaña nueva",
      source: "Origen",
      systems: "Sistemas",
      alertStates: { open: "", acknowledged: "Atendida", resolved: "Resuelta", ended: "Terminada" },
      older: "Mostrar anteriores",
      loading: "Cargando…",
      empty: "Todavía no hay nada.",
      emptyUnread: "Todo leído.",
      emptyArchived: "El archivo está vacío.",
      emptySnoozed: "No hay nada pospuesto.",
      failed: "No ha funcionado. Inténtalo de nuevo.",
      loadFailed: "No se han podido cargar las notificaciones.",
      retry: "Reintentar",
      moreToasts: plural({ one: "{n} más en espera", many: "{n} más en espera", other: "{n} más en espera" }),
      types: { info: "Información", success: "Éxito", warning: "Advertencia", error: "Error", alert: "Alerta" },
      priorities: { low: "Baja", normal: "", high: "Alta", critical: "Crítica" },
      states: {
        idle: "Sin conexión",
        connecting: "Conectando…",
        open: "En directo",
        waiting: "Reconectando…",
        offline: "Sin red",
        stopped: "Vuelve a iniciar sesión",
      },
    },
    preferences: {
      title: "Cómo contactarme",
      channels: {
        realtime: {
          name: "En directo",
          about: "Al momento, en las ventanas abiertas. En la bandeja de entrada queda todo en cualquier caso.",
        },
        push: { name: "Push", about: "En los teléfonos y navegadores que hayas autorizado." },
        email: { name: "Correo electrónico", about: "Notificaciones de prioridad alta y crítica." },
        sms: { name: "SMS", about: "Notificaciones críticas." },
      },
      note: "Las alertas críticas llegan por todos los canales disponibles.",
      categoriesTitle: "Sobre qué quiero recibir avisos",
      required: "Siempre activado",
      requiredAbout: "Son necesarias, por eso no se pueden desactivar.",
      optInAbout: "Desactivado hasta que lo actives.",
      unsubscribed: "Has cancelado la suscripción a estos correos. Activa el correo para volver a recibirlos.",
      usual: "Ajuste habitual",
      reset: "Volver al ajuste habitual",
      digest: "Frecuencia",
      digests: { instant: "Al momento", hourly: "Cada hora", daily: "Cada día", weekly: "Cada semana" },
      quietTitle: "Horas de silencio",
      quietAbout:
        "En este tiempo no suena nada. La bandeja de entrada sigue recibiendo todo, y las alertas críticas " +
          "llegan igualmente.",
      quietNone: "Sin horas de silencio.",
      days: "Días",
      from: "Desde",
      to: "Hasta",
      nextDay: "del día siguiente",
      addWindow: "Añadir horas de silencio",
      removeWindow: "Eliminar",
      timezone: "Zona horaria",
      pauseTitle: "Pausa",
      pauseAbout: "Retener todo durante un tiempo, excepto las alertas críticas.",
      pauseChoices: {
        hour: "Durante 1 hora",
        evening: "Hasta esta tarde",
        tomorrow: "Hasta mañana por la mañana",
        monday: "Hasta el próximo lunes",
      },
      pausedUntil: (when) => `En pausa. Se reanuda: ${when}`,
      resume: "Reanudar ahora",
      saved: "Guardado",
      saveFailed: "No se ha podido guardar. Inténtalo de nuevo.",
      loadFailed: "No se han podido cargar los ajustes.",
      unknownUser:
        "Todavía no figuras en el directorio, así que no hay nada que elegir. Pregunta a quien gestione este servicio.",
      browserTitle: "Este navegador",
      browser: {
        unsupported: "Este navegador no puede mostrar notificaciones con la página cerrada.",
        unavailable: "Este servidor no envía notificaciones push a navegadores.",
        denied: "Las notificaciones de este sitio están bloqueadas. Puedes cambiarlo en los ajustes del navegador.",
        off: "Mostrar aquí las notificaciones con la página cerrada.",
        on: "Las notificaciones llegan a este navegador con la página cerrada.",
      },
      enable: "Activar",
      disable: "Desactivar",
      browserFailed: "No ha funcionado: el navegador o su servicio push lo ha rechazado.",
    },
  };
}
