/** dispatcher: the manager's side of the nodes' sessions. Reads and writes nodes and tasks in the store only. */
export { Dispatcher, type DispatcherOptions } from './dispatcher.ts';
