// @ts-check
/**
 * Portuguese, in words that Brazil and Portugal share where there are such.
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
      title: "Notificações",
      bell: plural({
        "=0": "Notificações, nenhuma por ler",
        one: "Notificações, {n} por ler",
        many: "Notificações, {n} por ler",
        other: "Notificações, {n} por ler",
      }),
      toasts: "Novas notificações",
      close: "Fechar",
      dismiss: "Dispensar",
      categoriesTitle: "Categorias",
      categories: {},
      allCategories: "Todas",
      noCategory: "Outras",
      unreadCount: plural({ one: "{n} não lida", many: "{n} não lidas", other: "{n} não lidas" }),
      views: "Mostrar",
      all: "Recebidas",
      unread: "Não lidas",
      archived: "Arquivadas",
      snoozed: "Adiadas",
      markAllRead: "Marcar tudo como lido",
      archive: "Arquivar",
      markUnread: "Marcar como não lida",
      snooze: "Adiar",
      snoozeUntil: "Adiar até",
      snoozeChoices: {
        hour: "Daqui a 1 hora",
        evening: "Hoje à noite",
        tomorrow: "Amanhã de manhã",
        monday: "Próxima segunda-feira",
      },
      comesBack: (when) => `Volta: ${when}`,
      bringBack: "Trazer de volta agora",
      acknowledge: "Assumir",
      acknowledged: "Assumido",
      acknowledgedBy: (who, when) => `Assumido por ${who}, ${when}`,
      acted: (label) => `Feito: ${label}`,
      newTab: "abre numa nova janela",
      source: "Origem",
      systems: "Sistemas",
      alertStates: { open: "", acknowledged: "Assumido", resolved: "Resolvido", ended: "Encerrado" },
      older: "Mostrar anteriores",
      loading: "Carregando…",
      empty: "Ainda não há nada aqui.",
      emptyUnread: "Tudo lido.",
      emptyArchived: "O arquivo está vazio.",
      emptySnoozed: "Nada adiado.",
      failed: "Não funcionou. Tente novamente.",
      loadFailed: "Não foi possível carregar as notificações.",
      retry: "Tentar novamente",
      moreToasts: plural({ one: "mais {n} em espera", many: "mais {n} em espera", other: "mais {n} em espera" }),
      types: { info: "Informação", success: "Sucesso", warning: "Aviso", error: "Erro", alert: "Alerta" },
      priorities: { low: "Baixa", normal: "", high: "Alta", critical: "Crítica" },
      states: {
        idle: "Sem ligação",
        connecting: "Conectando…",
        open: "Ao vivo",
        waiting: "Reconectando…",
        offline: "Offline",
        stopped: "Inicie sessão novamente",
      },
    },
    preferences: {
      title: "Como me contactar",
      channels: {
        realtime: {
          name: "Ao vivo",
          about: "De imediato, nas janelas abertas. A caixa de entrada tem tudo em qualquer caso.",
        },
        push: { name: "Push", about: "Nos telefones e navegadores que você autorizou." },
        email: { name: "E-mail", about: "Notificações de prioridade alta e crítica." },
        sms: { name: "SMS", about: "Notificações críticas." },
      },
      note: "Os alertas críticos chegam por todos os canais disponíveis.",
      categoriesTitle: "Sobre o que quero ser avisado",
      required: "Sempre ativo",
      requiredAbout: "São necessárias, por isso não podem ser desativadas.",
      optInAbout: "Desativado até você ativar.",
      unsubscribed: "Você cancelou a inscrição nestes e-mails. Ative o e-mail para voltar a recebê-los.",
      usual: "Definição padrão",
      reset: "Voltar à definição padrão",
      digest: "Frequência",
      digests: { instant: "De imediato", hourly: "A cada hora", daily: "Todos os dias", weekly: "Todas as semanas" },
      quietTitle: "Horas de silêncio",
      quietAbout:
        "Durante este tempo nada toca. A caixa de entrada continua a receber tudo, e os alertas críticos " +
          "chegam na mesma.",
      quietNone: "Sem horas de silêncio.",
      days: "Dias",
      from: "Das",
      to: "Às",
      nextDay: "do dia seguinte",
      addWindow: "Adicionar horas de silêncio",
      removeWindow: "Remover",
      timezone: "Fuso horário",
      pauseTitle: "Pausa",
      pauseAbout: "Reter tudo por um tempo, exceto alertas críticos.",
      pauseChoices: {
        hour: "Por 1 hora",
        evening: "Até hoje à noite",
        tomorrow: "Até amanhã de manhã",
        monday: "Até a próxima segunda-feira",
      },
      pausedUntil: (when) => `Em pausa. Continua: ${when}`,
      resume: "Continuar agora",
      saved: "Salvo",
      saveFailed: "Não foi possível salvar. Tente novamente.",
      loadFailed: "Não foi possível carregar as definições.",
      unknownUser:
        "Ainda não há um registro seu no diretório, portanto não há nada para escolher. Fale com quem " +
          "administra este serviço.",
      browserTitle: "Este navegador",
      browser: {
        unsupported: "Este navegador não consegue mostrar notificações com a página fechada.",
        unavailable: "Este servidor não envia notificações push para navegadores.",
        denied: "As notificações deste site estão bloqueadas. Você pode mudar isso nas definições do navegador.",
        off: "Mostrar notificações aqui com a página fechada.",
        on: "As notificações chegam a este navegador com a página fechada.",
      },
      enable: "Ativar",
      disable: "Desativar",
      browserFailed: "Não funcionou: o navegador ou o serviço push dele recusou.",
    },
  };
}
