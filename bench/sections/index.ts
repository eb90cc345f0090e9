/** The sections in the order in which they run. Adding one here is all that it needs. */
import type { Section } from '../types.ts';
import { api } from './api.ts';
import { cluster } from './cluster.ts';
import { dns } from './dns.ts';
import { growth } from './growth.ts';
import { many } from './many.ts';
import { start } from './start.ts';
import { traffic } from './traffic.ts';
import { vip } from './vip.ts';

export const sections: readonly Section[] = [traffic, dns, api, start, many, vip, cluster, growth];
