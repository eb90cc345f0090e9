/** Tables of kernel numbers and their names: one place for both directions. */

import type { Family } from '../ip.ts';
import { AF_INET, AF_INET6 } from '../kernel/constants.ts';

/** A number the table does not name stays a number. */
export class Names<N extends string> {
  readonly #byName: Readonly<Record<N, number>>;
  readonly #byNumber: ReadonlyMap<number, N>;

  constructor(table: Readonly<Record<N, number>>) {
    this.#byName = table;
    this.#byNumber = new Map(Object.entries(table).map(([name, value]) => [value as number, name as N]));
  }

  number(name: N | number): number {
    return typeof name === 'number' ? name : this.#byName[name];
  }

  name(value: number): N | number {
    return this.#byNumber.get(value) ?? value;
  }
}

export const familyNumber = (family: Family): number => (family === 'ipv4' ? AF_INET : AF_INET6);
export const familyName = (family: number): Family => (family === AF_INET ? 'ipv4' : 'ipv6');

/** enum rt_scope_t, linux/rtnetlink.h */
export const scopes = new Names({ global: 0, site: 200, link: 253, host: 254, nowhere: 255 });
export type Scope = 'global' | 'site' | 'link' | 'host' | 'nowhere' | number;

/** RTPROT_*, linux/rtnetlink.h: who installed a route or rule. */
export const protocols = new Names({ unspecified: 0, redirect: 1, kernel: 2, boot: 3, static: 4, ra: 9, dhcp: 16 });
export type Protocol = 'unspecified' | 'redirect' | 'kernel' | 'boot' | 'static' | 'ra' | 'dhcp' | number;
