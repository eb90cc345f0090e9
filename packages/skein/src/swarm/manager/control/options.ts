import type { Logger } from '../../../common/index.ts';
import type { Store } from '../../store/index.ts';
import type { LocalRoute, Quarantine } from '../allocator/index.ts';

/** What the control needs from its manager. */
export interface ControlOptions {
  readonly store: Store;
  readonly logger: Logger;
  /** What networks were given last and freed lately; the allocator has the same. */
  readonly quarantine?: Quarantine | undefined;
  /** The routes of the manager's own host: networks must not cover them. */
  readonly localRoutes?: (() => readonly LocalRoute[]) | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}
