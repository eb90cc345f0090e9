import type { Control } from '../types.ts';
import { find, get } from './lookup.ts';
import type { ControlOptions } from './options.ts';

export function taskControl({ store }: ControlOptions): Pick<Control, 'findTask' | 'removeTask'> {
  return {
    findTask: (reference) => store.view((tx) => find(tx, 'task', reference)),
    removeTask: (id) =>
      store.update((tx) => {
        get(tx, 'task', id);
        tx.delete('task', id);
      }),
  };
}
