/**
 * Makes a React component of a custom element.
 *
 * React 18 writes every prop of a custom element as an attribute and hears none of its events; React 19 does both. So
 * that they behave alike, only attributes are React's here. Properties and listeners are set by effects.
 *
 * @module
 */

import {
  createElement,
  type ForwardedRef,
  forwardRef,
  type ForwardRefExoticComponent,
  type RefAttributes,
  useEffect,
  useImperativeHandle,
  useRef,
} from "react";

import type { TokenSource } from "../page/api.js";

/** What the elements have in common. */
export interface CarillonElement extends HTMLElement {
  token: string;
  getToken: TokenSource | null;
  labels: object;
}

/** What the components have in common. */
export interface CommonProps {
  /** Where the realtime service answers; the root of the page's own origin when left out. */
  url?: string | undefined;
  /** A JWT that is valid as long as the page lives. For one that is renewed, use `getToken`. */
  token?: string | undefined;
  /**
   * Supplies the JWT whenever one is needed; goes before `token`. Another function changes nothing until the next token
   * is needed. Give the component another `key` when somebody else signs in.
   */
  getToken?: TokenSource | undefined;
  /** The language as a BCP 47 tag; that of the page when left out. */
  locale?: string | undefined;
  /** The default follows the system. */
  theme?: "light" | "dark" | undefined;
}

/** How the props of a component reach its element. */
export interface Description {
  /** The attribute of each prop; true is written as an empty one. */
  readonly attributes: Readonly<Record<string, string>>;
  /** The event of each listener. */
  readonly events: Readonly<Record<string, string>>;
  /** Called with the element when it has come into the page; what it returns, when it has left. */
  readonly mounted?: (element: HTMLElement) => () => void;
}

/**
 * @param tag The element's name. Whoever calls this has imported its module.
 * @param description
 */
export function component<Made extends HTMLElement, Props extends CommonProps>(
  tag: string,
  description: Description,
): ForwardRefExoticComponent<Props & RefAttributes<Made>> {
  const { attributes, events, mounted } = description;

  function Component(given: object, outside: ForwardedRef<Made>) {
    const props = given as Readonly<Record<string, unknown>>;
    const inside = useRef<Made & CarillonElement>(null);
    const latest = useRef(props);
    useImperativeHandle(outside, () => inside.current as Made, []);
    useEffect(() => {
      latest.current = props;
    });

    useEffect(() => {
      const element = inside.current;
      if (!element) return undefined;
      const listening = new AbortController();
      for (const [prop, event] of Object.entries(events)) {
        const tell = (happened: Event) => (latest.current[prop] as ((event: Event) => void) | undefined)?.(happened);
        element.addEventListener(event, tell, { signal: listening.signal });
      }
      const left = mounted?.(element);
      return () => {
        listening.abort();
        left?.();
      };
    }, []);

    // Setting any of these starts the element anew. So it gets one function for all renders, and labels that say
    // something else than before.
    const named = written(props.labels);
    useEffect(() => {
      if (inside.current) inside.current.labels = props.labels ?? {};
    }, [named]);
    const supplied = typeof props.getToken === "function";
    useEffect(() => {
      const ask: TokenSource = (why) => (latest.current.getToken as TokenSource | undefined)?.(why) ?? "";
      if (inside.current) inside.current.getToken = supplied ? ask : null;
    }, [supplied]);
    useEffect(() => {
      if (inside.current) inside.current.token = (props.token as string | undefined) ?? "";
    }, [props.token]);

    const { className, url = "", locale = "", labels: _labels, getToken: _getToken, token: _token, ...rest } = props;
    // React 19 sets those that are properties, too, and would set them to undefined.
    const passed: Record<string, unknown> = { class: className, url, locale, ref: inside };
    for (const [name, value] of Object.entries(rest)) {
      if (Object.hasOwn(events, name)) continue;
      const attribute = attributes[name];
      if (attribute === undefined) passed[name] = value;
      else passed[attribute] = value === true ? "" : value === false ? undefined : value;
    }
    return createElement(tag, passed);
  }

  Component.displayName = tag;
  return forwardRef(Component) as unknown as ForwardRefExoticComponent<Props & RefAttributes<Made>>;
}

/** What labels say, as a text: of a function, its source. */
function written(labels: unknown): string {
  return JSON.stringify(labels ?? null, (_key, value: unknown) => (typeof value === "function" ? String(value) : value));
}
